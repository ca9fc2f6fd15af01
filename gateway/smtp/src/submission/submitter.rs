//! Who submits a message, and as whom that one may send.

use std::sync::Arc;

use securanet_gateway::{
    client::{AccountPlace, StoreClient},
    model::{
        AccountId, Address, StoreError, TenantId,
        account::AccountRef,
        directory::{self, DirectoryAnswer, DirectoryQuery},
        policy::Scope,
        sending::{RelayGrant, SenderRight},
    },
};

use crate::envelope::Outlet;

/// An account that has logged in, or a device that need not.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Account(Arc<directory::Account>),
    Device {
        grant: Arc<RelayGrant>,
        /// The envelope's sender, which the grant allows.
        sender: Address,
    },
}

/// What policy says of an account's submissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Policies {
    pub(crate) copy_to_sent: bool,
    pub(crate) hide_client: bool,
    /// 0: as many as it likes.
    pub(crate) messages_per_hour: u64,
    /// 0: as many as it likes.
    pub(crate) recipients_per_hour: u64,
}

/// Who submits one message.
pub(crate) struct Submitter {
    pub(crate) who: Who,
    /// Where its mail goes out.
    pub(crate) outlet: Outlet,
    pub(crate) policies: Policies,
    store: StoreClient,
    /// The envelope's sender, once admitted: From is mostly the same.
    admitted: Option<(Address, SenderRight)>,
}

impl Policies {
    pub(crate) async fn of(store: &StoreClient, account: AccountId) -> Result<Self, StoreError> {
        let value = async |key: &str| -> Result<String, StoreError> {
            let query = DirectoryQuery::Policy(key.to_owned(), Scope::Account(account));
            match store.look_up(query).await? {
                DirectoryAnswer::Policy(value) => Ok(value.map(|(value, _)| value).unwrap_or_default()),
                other => Err(StoreError::Internal(format!("not a policy: {other:?}"))),
            }
        };
        Ok(Self {
            copy_to_sent: value("submission.copy_to_sent").await? == "true",
            hide_client: value("submission.hide_client").await? == "true",
            messages_per_hour: value("submission.messages_per_hour").await?.parse().unwrap_or(0),
            recipients_per_hour: value("submission.recipients_per_hour").await?.parse().unwrap_or(0),
        })
    }

    /// A device's limits stand in its grant.
    pub(crate) const fn of_device() -> Self {
        Self { copy_to_sent: false, hide_client: false, messages_per_hour: 0, recipients_per_hour: 0 }
    }
}

/// As logs name it.
impl std::fmt::Display for Submitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.who {
            Who::Account(account) => account.address.fmt(f),
            Who::Device { grant, .. } => write!(f, "relay {}", grant.name),
        }
    }
}

impl Submitter {
    pub(crate) const fn new(store: StoreClient, who: Who, outlet: Outlet, policies: Policies) -> Self {
        Self { who, outlet, policies, store, admitted: None }
    }

    /// Whether it may send as the envelope's sender; remembered for From.
    pub(super) async fn admit_sender(&mut self, address: &Address) -> Result<SenderRight, StoreError> {
        let right = self.right(address).await?;
        self.admitted = Some((address.clone(), right));
        Ok(right)
    }

    /// Whether it may send as this address.
    pub(super) async fn right(&self, address: &Address) -> Result<SenderRight, StoreError> {
        if let Some((admitted, right)) = &self.admitted
            && admitted == address
        {
            return Ok(*right);
        }
        match &self.who {
            Who::Account(account) => {
                let query = DirectoryQuery::SenderRight(account.id, address.clone());
                let right = |answer| match answer {
                    DirectoryAnswer::SenderRight(right) => Ok(right),
                    other => Err(StoreError::Internal(format!("not a sender's right: {other:?}"))),
                };
                // It may have been granted a moment ago.
                match right(self.store.look_up(query.clone()).await?)? {
                    SenderRight::Refused => right(self.store.ask_directory(query).await?),
                    granted => Ok(granted),
                }
            }
            Who::Device { grant, .. } if grant.may_send_as(address) => Ok(SenderRight::SendAs),
            Who::Device { .. } => Ok(SenderRight::Refused),
        }
    }

    /// Who it is, for a From that is missing and for Sender.
    pub(super) fn address(&self) -> &Address {
        match &self.who {
            Who::Account(account) => &account.address,
            Who::Device { sender, .. } => sender,
        }
    }

    /// The name of its owner; empty where there is none.
    pub(super) fn display_name(&self) -> &str {
        match &self.who {
            Who::Account(account) => &account.display_name,
            Who::Device { .. } => "",
        }
    }

    /// The envelope's sender, if it is one of its addresses.
    pub(super) fn sender(&self) -> &Address {
        self.admitted.as_ref().map_or_else(|| self.address(), |(address, _)| address)
    }

    /// The account that a copy of what is submitted is kept for, where policy says so, and whose content it is.
    pub(crate) fn sent_to(&self) -> Option<(AccountPlace, TenantId)> {
        let Who::Account(account) = &self.who else { return None };
        let id = AccountRef { id: account.id, epoch: account.epoch };
        let place = AccountPlace { group: self.outlet.group, account: id };
        self.policies.copy_to_sent.then_some((place, self.outlet.tenant))
    }

    /// Whether it has logged in (RFC 3848).
    pub(crate) const fn is_authenticated(&self) -> bool {
        matches!(self.who, Who::Account(_))
    }
}
