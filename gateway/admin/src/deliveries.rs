//! Mail that went into mailboxes directly: what of a Message-ID is in the accounts that an address leads to.
//!
//! Such mail is in no queue, so nothing keeps its life; but each message tells it itself: Return-Path, Delivered-To and
//! Received stand before it. The newest [`MESSAGES_MAX`] messages of each mailbox are looked at, and together no more
//! than [`LOOKED_AT_MAX`]; the answer says whether that was all.
//!
//! Not found is what was deleted, what a rule of the account's owner moved to another server, and what was refused: the
//! log has that.

use axum::{Json, extract::State};
use securanet_gateway::{
    client::AccountPlace,
    model::{
        Address, Uid,
        account::{AccountAnswer, AccountQuery, AccountRef, MailboxInfo, Message, UidSet},
        directory::{DirectoryAnswer, DirectoryQuery, LocalRecipient, Resolution},
        record,
        summary::Summary,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Api, ApiError, Problem, input::Asked};

/// Messages looked at in one mailbox.
const MESSAGES_MAX: u32 = 5000;
/// Messages looked at for one question: some seconds of a slow disk.
const LOOKED_AT_MAX: u32 = 20_000;
/// Accounts looked at: of a large list the first ones.
const ACCOUNTS_MAX: usize = 20;
/// Messages of one query of the store.
const PAGE_ROWS: u32 = 500;
/// Messages shown.
const FOUND_MAX: usize = 100;
/// Octets of a message in which the fields are that final delivery and our Received have.
const HEADER_OCTETS_MAX: u64 = 8 * 1024;

/// What to look for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    message_id: String,
    to: String,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deliveries {
    /// Newest first in each mailbox.
    found: Vec<DeliveryView>,
    /// Whether all messages of all accounts were looked at.
    complete: bool,
}

/// A message in a mailbox, and what it tells of its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// The account's address.
    account: String,
    /// The mailbox.
    mailbox: String,
    /// Its UID.
    uid: u32,
    /// Octets.
    size_bytes: u64,
    /// When it came to this mailbox.
    saved_unix_millis: u64,
    /// Who sent it; null for what was not delivered but uploaded or copied.
    return_path: Option<String>,
    /// To whom it was addressed.
    delivered_to: Option<String>,
    /// From where we received it.
    received: Option<String>,
}

/// Shows what of a Message-ID is in the mailboxes that an address leads to.
#[utoipa::path(get, path = "/v1/deliveries", params(("message_id" = String, Query), ("to" = String, Query)),
    responses((status = 200, body = Deliveries), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Asked(Wanted { message_id, to }): Asked<Wanted>,
) -> Result<Json<Deliveries>, ApiError> {
    let bare = message_id.trim().trim_start_matches('<').trim_end_matches('>').to_owned();
    let accounts = resolve(&api, &Address::parse(&to)?).await?;
    let complete = accounts.len() <= ACCOUNTS_MAX;
    let mut search = Search { api: &api, bare, left: LOOKED_AT_MAX, found: Vec::new(), complete };
    for account in accounts.iter().take(ACCOUNTS_MAX) {
        search.account(account).await?;
    }
    if search.found.is_empty() && search.complete {
        return Err(ApiError::not_found(format!("message {message_id} in a mailbox of {to}"))
            .remedy("it was deleted, forwarded or refused: ask the log for the Message-ID"));
    }
    Ok(Json(Deliveries { found: search.found, complete: search.complete }))
}

async fn resolve(api: &Api, address: &Address) -> Result<Vec<LocalRecipient>, ApiError> {
    match api.client.ask_directory(DirectoryQuery::Resolve(address.clone())).await? {
        DirectoryAnswer::Resolution(Resolution::Local(found)) => Ok(found.accounts),
        DirectoryAnswer::Resolution(Resolution::TooMany(at)) => {
            Err(ApiError::not_found(format!("mailbox of {address}: it leads to too many, at {at}"))
                .remedy("look at where its members' domains have a catch-all, and name one account"))
        }
        DirectoryAnswer::Resolution(_) => Err(ApiError::not_found(format!("mailbox of {address}"))
            .remedy("name an address of an active account, an alias or a list here")),
        other => Err(ApiError::out_of_turn(other)),
    }
}

struct Search<'a> {
    api: &'a Api,
    /// The Message-ID without its angle brackets.
    bare: String,
    /// Messages that may still be looked at.
    left: u32,
    found: Vec<DeliveryView>,
    complete: bool,
}

impl Search<'_> {
    async fn account(&mut self, account: &LocalRecipient) -> Result<(), ApiError> {
        let id = AccountRef { id: account.account, epoch: account.epoch };
        let place = AccountPlace { group: account.group, account: id };
        let AccountAnswer::Mailboxes(mailboxes) = self.ask(place, AccountQuery::Mailboxes).await? else {
            return Err(ApiError::out_of_turn("mailboxes"));
        };
        for mailbox in mailboxes {
            self.mailbox(account, place, &mailbox).await?;
        }
        Ok(())
    }

    /// Goes through a mailbox from its newest message on.
    async fn mailbox(
        &mut self,
        account: &LocalRecipient,
        place: AccountPlace,
        mailbox: &MailboxInfo,
    ) -> Result<(), ApiError> {
        let mut last = mailbox.uid_next.get().saturating_sub(1);
        let (mut here, mut seen) = (MESSAGES_MAX, 0);
        while last > 0 && seen < mailbox.messages {
            if here == 0 || self.left == 0 || self.found.len() >= FOUND_MAX {
                self.complete = false;
                return Ok(());
            }
            let first = last.saturating_sub(PAGE_ROWS - 1).max(1);
            let uids = UidSet::from_ranges([(Uid::new(first), Uid::new(last))]);
            let query = AccountQuery::Messages { mailbox: mailbox.id, uids, with_summary: true, rows_max: PAGE_ROWS };
            let AccountAnswer::Messages(messages) = self.ask(place, query).await? else {
                return Err(ApiError::out_of_turn("messages"));
            };
            seen += messages.len() as u64;
            // A page counts as full: so gaps in the UIDs have their bound too.
            (here, self.left) = (here.saturating_sub(PAGE_ROWS), self.left.saturating_sub(PAGE_ROWS));
            for message in messages.iter().rev().filter(|message| is_of(message, &self.bare)) {
                let view = self.view(account, place, mailbox, message).await?;
                self.found.push(view);
            }
            last = first - 1;
        }
        Ok(())
    }

    async fn ask(&self, place: AccountPlace, query: AccountQuery) -> Result<AccountAnswer, ApiError> {
        match self.api.client.ask_account(place, query).await? {
            AccountAnswer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    async fn view(
        &self,
        account: &LocalRecipient,
        place: AccountPlace,
        mailbox: &MailboxInfo,
        message: &Message,
    ) -> Result<DeliveryView, ApiError> {
        let content = self.api.client.store().open(place.group, place.account, message.state.email).await?;
        let start = content.read(0..content.size_bytes().min(HEADER_OCTETS_MAX)).await?;
        Ok(DeliveryView {
            account: account.address.to_string(),
            mailbox: mailbox.name.to_string(),
            uid: message.state.uid.get(),
            size_bytes: message.size_bytes,
            saved_unix_millis: message.saved_date.get(),
            return_path: field(&start, "Return-Path"),
            delivered_to: field(&start, "Delivered-To"),
            received: field(&start, "Received"),
        })
    }
}

fn is_of(message: &Message, bare: &str) -> bool {
    let summary = message.summary.as_ref().and_then(|sealed| record::decode::<Summary>(&sealed.bytes).ok());
    let written = summary.and_then(|summary| summary.envelope.message_id);
    written.is_some_and(|written| {
        let written = String::from_utf8_lossy(&written);
        written.trim().trim_start_matches('<').trim_end_matches('>') == bare
    })
}

/// The first field of this name, unfolded, where it stands in the header.
fn field(start: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(start);
    let header = text.split("\r\n\r\n").next()?.replace("\r\n\t", " ").replace("\r\n ", " ");
    let value = header.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    value.map(|value| value.chars().filter(|character| !character.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_in_the_header_alone() {
        let start = b"Return-Path: <s@x>\r\nReceived: from a ([1])\r\n\tby b;\r\n Tue\r\n\r\nDelivered-To: body\r\n";
        assert_eq!(field(start, "return-path").as_deref(), Some("<s@x>"));
        assert_eq!(field(start, "Received").as_deref(), Some("from a ([1]) by b; Tue"));
        assert_eq!(field(start, "Delivered-To"), None);
    }
}
