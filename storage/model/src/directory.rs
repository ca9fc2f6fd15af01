//! Group 0: domains, accounts, addresses, lists, credentials, policies; its commands, queries and answers.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Address, AppPasswordId, DomainId, DomainName, Epoch, GroupId, TenantId, UnixMillis,
    dkim::{DkimAlgorithm, DkimKey, DkimState, PrivateKey, Selector},
    nodes::{Authority, JoinToken, Node, NodeFacts, NodeName, NodeState, SiteName},
    policy::{PolicyError, Scope},
    sending::{Grant, RelayGrant, SenderRight},
    sts::StsPolicyRow,
    tls_report::{TlsCounts, TlsReport},
};

/// Sums allowed to an account or a domain; `None` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Quota {
    /// Octets of messages.
    pub bytes_max: Option<u64>,
    /// Number of messages.
    pub messages_max: Option<u64>,
}

/// RFC 5803 SCRAM-SHA-256 verifier.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramVerifier {
    /// At least 16 random bytes.
    pub salt: Vec<u8>,
    /// At least 15,000.
    pub iterations: u32,
    /// RFC 5802 StoredKey.
    pub stored_key: [u8; 32],
    /// RFC 5802 ServerKey.
    pub server_key: [u8; 32],
}

/// What a password is checked against; made by whoever sets it, never the password itself. No `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifiers {
    /// argon2id in PHC string format.
    pub argon2id: String,
    /// SCRAM, unless the domain's policy is without.
    pub scram: Option<ScramVerifier>,
}

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifiers(..)")
    }
}

/// A password for one device (RFC 5321's old clients, phones), argon2id only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AppPassword {
    /// Its number within the account.
    pub id: AppPasswordId,
    /// What the owner calls it.
    pub label: String,
    /// When it was made.
    pub created: UnixMillis,
    /// What it is checked against.
    pub verifiers: Verifiers,
}

/// Whether an account may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccountStatus {
    /// Logs in and receives.
    Active,
    /// Neither logs in nor receives (550 5.2.1); its mail is kept.
    Suspended,
}

/// A domain of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Domain {
    /// Its id.
    pub id: DomainId,
    /// Its tenant; it does not change.
    pub tenant: TenantId,
    /// Its name.
    pub name: DomainName,
    /// Who gets mail for unknown local parts, if anybody.
    pub catch_all: Option<Address>,
    /// Sum over its accounts; soft (gathered every 10 s).
    pub quota: Quota,
}

/// An account as the directory knows it, without credentials.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its domain.
    pub domain: DomainId,
    /// Its main address, which is also its login name.
    pub address: Address,
    /// Its owner's name.
    pub display_name: String,
    /// Whether it may be used.
    pub status: AccountStatus,
    /// What it may hold.
    pub quota: Quota,
    /// The shard that holds its mailboxes.
    pub group: GroupId,
    /// How often it has moved.
    pub epoch: Epoch,
    /// Raised by each change of credentials or status: sessions and remembered logins of an older one end.
    pub credential_version: u64,
    /// When it was made.
    pub created: UnixMillis,
}

/// Another address of one account, or of a list; or an address of ours for somebody outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alias {
    /// The address.
    pub address: Address,
    /// Where its mail goes: an account's, an alias's or a list's address of ours, or an address outside.
    pub target: Address,
}

/// Where an account's mail is sent on to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forwarding {
    /// 1 to [`crate::limits::FORWARDING_TARGETS_MAX`] addresses, distinct, ours or outside.
    pub to: Vec<Address>,
    /// Whether the account gets its mail, too.
    pub keep: bool,
}

/// A distribution list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct List {
    /// Its address.
    pub address: Address,
    /// Who gets its bounces (RFC 5321 3.9.2): an address of ours.
    pub owner: Option<Address>,
    /// Members in order, distinct; addresses of ours or outside.
    pub members: Vec<Address>,
}

/// Credentials of an account, for a login. No `Debug` of secrets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// The account.
    pub account: Account,
    /// Its password's verifiers, if it has a password.
    pub password: Option<Verifiers>,
    /// Its device passwords; empty where policy forbids them.
    pub app_passwords: Vec<AppPassword>,
}

/// A change of the directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DirectoryCommand {
    /// Names the cluster and fixes its secrets and shards, once; a repeat with other values is refused.
    Initialise {
        /// A UUID.
        cluster: [u8; 16],
        /// What tenants' keyed hashes are derived from.
        content_key: [u8; 32],
        /// What salts for unknown users are derived from.
        login_key: [u8; 32],
        /// Groups 1 to this one are shards.
        shards: u32,
    },
    /// Adds a domain.
    CreateDomain {
        /// Whose it is.
        tenant: TenantId,
        /// Its name.
        name: DomainName,
    },
    /// Changes a domain.
    UpdateDomain {
        /// Which.
        name: DomainName,
        /// New catch-all: `Some(None)` removes it, `None` leaves it.
        catch_all: Option<Option<Address>>,
        /// New quota.
        quota: Option<Quota>,
    },
    /// Removes a domain that has no account, alias or list any more.
    DeleteDomain {
        /// Which.
        name: DomainName,
    },
    /// Adds an account; the directory picks its id and its shard. Its mailboxes are made by
    /// [`crate::account::AccountCommand::Provision`] in the shard, which whoever sends this sends next.
    CreateAccount {
        /// Its main address.
        address: Address,
        /// Its owner's name.
        display_name: String,
        /// Its password's verifiers; `None`: nobody can log in yet.
        password: Option<Verifiers>,
        /// What it may hold.
        quota: Quota,
    },
    /// Changes an account's name, status or quota; `None` leaves a field as it is.
    UpdateAccount {
        /// Which.
        account: AccountId,
        /// New name.
        display_name: Option<String>,
        /// New status.
        status: Option<AccountStatus>,
        /// New quota.
        quota: Option<Quota>,
    },
    /// Removes an account and whatever named its address: aliases that lead to it go too, lists lose it as a
    /// member or owner, domains as their catch-all. Its mailboxes are removed in its shard.
    DeleteAccount {
        /// Which.
        account: AccountId,
    },
    /// Sets or removes the password.
    SetPassword {
        /// Whose.
        account: AccountId,
        /// New verifiers.
        password: Option<Verifiers>,
    },
    /// Adds a device password.
    AddAppPassword {
        /// Whose.
        account: AccountId,
        /// What the owner calls it.
        label: String,
        /// Its verifiers.
        verifiers: Verifiers,
    },
    /// Removes a device password.
    RemoveAppPassword {
        /// Whose.
        account: AccountId,
        /// Which.
        id: AppPasswordId,
    },
    /// Adds an alias; its target must exist and be ours. (As the first release had it: a log is applied the same by
    /// each release. [`Self::CreateAliasAnywhere`] has taken its place.)
    CreateAlias(Alias),
    /// Removes an alias, and whatever named its address as [`Self::DeleteAccount`] does.
    DeleteAlias {
        /// Which.
        address: Address,
    },
    /// Adds a list or replaces an existing one's members and owner; all must exist and be ours. (As the first release
    /// had it; [`Self::PutListAnywhere`] has taken its place.)
    PutList(List),
    /// Removes a list, and whatever named its address as [`Self::DeleteAccount`] does.
    DeleteList {
        /// Which.
        address: Address,
    },
    /// Sets a policy (`None`: back to the wider scope's value).
    SetPolicy {
        /// Its key.
        key: String,
        /// Where.
        scope: Scope,
        /// Its value.
        value: Option<String>,
    },
    /// Lets an account send as an address of ours, or as each of a domain of ours. A repeat changes nothing. The
    /// grant goes with the account, with the address, or with the domain.
    GrantSending(Grant),
    /// Takes that back.
    RevokeSending(Grant),
    /// Lets devices submit mail without logging in, or replaces what the grant of this name says.
    PutRelay(RelayGrant),
    /// Takes that back.
    DeleteRelay {
        /// Which.
        name: String,
    },
    /// Adds a key that may sign a domain's mail; it is [`DkimState::Published`] at first.
    PutDkimKey {
        /// Whose mail; a domain of ours.
        domain: DomainName,
        /// Its name in the DNS; not in use yet.
        selector: Selector,
        /// How it signs.
        algorithm: DkimAlgorithm,
        /// The key.
        private: PrivateKey,
    },
    /// Changes the state of a key. The one that is made active takes the place of the domain's active key of the
    /// same algorithm, which retires.
    SetDkimState {
        /// Whose.
        domain: DomainName,
        /// Which.
        selector: Selector,
        /// Its new state.
        state: DkimState,
    },
    /// Forgets a key.
    DeleteDkimKey {
        /// Whose.
        domain: DomainName,
        /// Which.
        selector: Selector,
    },
    /// Keeps the MTA-STS policy of a foreign domain in place of one that was fetched earlier. Nobody who watches the
    /// directory is woken.
    PutStsPolicy(StsPolicyRow),
    /// Adds what a gateway counted of TLS towards foreign domains; at most
    /// [`crate::tls_report::TLS_COMMAND_DOMAINS_MAX`]. Days that are long over are dropped. Nobody is woken.
    CountTls(Vec<TlsCounts>),
    /// Takes a report that is due, to send it within ten minutes; refused when it is not due. Nobody is woken.
    TakeTlsReport {
        /// Of which day.
        day: u32,
        /// To whom.
        domain: DomainName,
        /// Who takes it.
        by: [u8; 16],
    },
    /// Says what became of a report that was taken; refused when another has taken it since. Nobody is woken.
    SettleTlsReport {
        /// Of which day.
        day: u32,
        /// To whom.
        domain: DomainName,
        /// Who took it.
        by: [u8; 16],
        /// Where it has arrived.
        done: Vec<String>,
        /// In how many seconds the rest is tried again; `None`: that is over.
        again_after: Option<u32>,
    },
    /// Makes reports due now, sent before or not; at most [`crate::tls_report::TLS_COMMAND_DOMAINS_MAX`].
    SendTlsReports {
        /// Of which day.
        day: u32,
        /// To whom.
        domains: Vec<DomainName>,
    },
    /// Sends an account's mail on, or no more. Goes with the account; an address that goes leaves it.
    SetForwarding {
        /// Whose.
        account: AccountId,
        /// Where to; `None`: nowhere.
        forwarding: Option<Forwarding>,
    },
    /// Adds an alias; its target must exist, or be outside.
    CreateAliasAnywhere(Alias),
    /// Adds a list or replaces an existing one's members and owner. The members must exist or be outside, the owner
    /// must exist.
    PutListAnywhere(List),
    /// Keeps the cluster's authority, once; a repeat with another one is refused.
    SetAuthority(Authority),
    /// Adds the first node, which founds the cluster; refused when there is one, unless it is the same.
    FoundCluster(NodeFacts),
    /// Keeps a token; those that have ended are dropped.
    PutJoinToken(JoinToken),
    /// Lets a node in, and uses its token up. The same node may repeat it with the same key, until the token ends: it
    /// may not have got the answer.
    Join {
        /// SHA-256 of the token's secret.
        token: [u8; 32],
        /// SHA-256 of its public key.
        key: [u8; 32],
        /// Who comes in.
        facts: NodeFacts,
    },
    /// A node says what has changed of itself: its site, its address, its roles. Its name stays, and whether it is a
    /// store.
    UpdateNode(NodeFacts),
    /// Changes where a node is in its life. The last active store stays.
    SetNodeState {
        /// Which.
        name: NodeName,
        /// Its new state.
        state: NodeState,
    },
    /// Adds an account in a shard that is at home in this site. Otherwise as `CreateAccount`.
    CreateAccountIn {
        /// A site with stores.
        site: SiteName,
        /// Its main address.
        address: Address,
        /// Its owner's name.
        display_name: String,
        /// Its password's verifiers; `None`: nobody can log in yet.
        password: Option<Verifiers>,
        /// What it may hold.
        quota: Quota,
    },
}

/// What a change of the directory answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DirectoryReply {
    /// Done; nothing to tell.
    Done,
    /// The domain as it is now.
    Domain(Domain),
    /// The account as it is now.
    Account(Account),
    /// The device password's number.
    AppPassword(AppPasswordId),
    /// Nothing was changed, because.
    Refused(DirectoryRefusal),
    /// The node as it is now.
    Node(Node),
}

/// Why a change of the directory was refused. Nothing is changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum DirectoryRefusal {
    /// `Initialise` with values that differ from the cluster's.
    #[error("this cluster is already initialised")]
    AlreadyInitialised,
    /// Any other command before `Initialise`.
    #[error("this cluster is not initialised yet")]
    NotInitialised,
    /// The address or domain is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// No such domain, account, alias or list.
    #[error("there is no {0}")]
    NotFound(String),
    /// The domain of an address is none of ours.
    #[error("{0} is not a domain of ours: add it first with `securanet domain add {0}`")]
    ForeignDomain(DomainName),
    /// It is outside, which a list's owner, a domain's catch-all and what is granted to send as may not be.
    #[error("{0} is outside our domains, and must be an address of ours: correct it or leave it out")]
    Outside(Address),
    /// The alias, list or forwarding would lead back to itself.
    #[error("{0} would lead back to itself")]
    Loop(Address),
    /// A domain that still has addresses.
    #[error("domain {name} still has {addresses} addresses: delete them first")]
    NotEmpty {
        /// The domain.
        name: DomainName,
        /// How many.
        addresses: u64,
    },
    /// A bound of [`crate::limits`].
    #[error("at most {limit} {what}")]
    TooMany {
        /// Of what.
        what: String,
        /// How many.
        limit: u64,
    },
    /// A policy that does not exist or a value that does not fit.
    #[error(transparent)]
    Policy(PolicyError),
    /// A value that no directory could keep.
    #[error("{0}")]
    Invalid(String),
    /// A token that is none, or none any more.
    #[error("the token is unknown, used already, or its time is over: make another with `securanet node token`")]
    Token,
    /// A node of this name is there.
    #[error(
        "there is a node {0} already: give another name, or, if that node has lost its disk, make a token with \
         `securanet node replace {0}`"
    )]
    NodeExists(NodeName),
    /// What may not be done to a node.
    #[error("node {name}: {why}")]
    Node {
        /// Which.
        name: NodeName,
        /// Why not.
        why: String,
    },
}

/// Where a page of a listing begins and how long it is. A page may be shorter than asked for (rows can be
/// large); the listing ends with the empty page. Addresses are sorted by domain, then by local part.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// The canonical text of the last row of the page before; `None`: the first page.
    pub after: Option<String>,
    /// At most this many rows (1 to 1000).
    pub rows_max: u32,
}

/// A question to the directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DirectoryQuery {
    /// The cluster's fixed facts.
    Cluster,
    /// Who gets mail for this address: [`Resolution`].
    Resolve(Address),
    /// Mail for `postmaster` without a domain (RFC 5321 4.5.1).
    ResolvePostmaster,
    /// Credentials by login name: a main address or an alias that leads to exactly one account.
    Credentials(String),
    /// One account by id.
    AccountById(AccountId),
    /// One account by any address of it.
    AccountByAddress(Address),
    /// One domain.
    Domain(DomainName),
    /// Domains, sorted by name.
    Domains(Page),
    /// Accounts of a domain, or all, sorted by address.
    Accounts(Option<DomainName>, Page),
    /// Aliases, sorted by address.
    Aliases(Page),
    /// Lists, sorted by address.
    Lists(Page),
    /// One list.
    List(Address),
    /// The value of a policy for an account, a domain or the cluster, with the scope that set it.
    Policy(String, Scope),
    /// All policies that were set.
    Policies,
    /// Whether an account may send as an address.
    SenderRight(AccountId, Address),
    /// What an account may send as besides its own addresses.
    SendingGrants(AccountId),
    /// All relay grants, sorted by name.
    RelayGrants,
    /// The keys of a domain, private ones included, sorted by selector.
    DkimKeys(DomainName),
    /// The MTA-STS policy of a foreign domain that was fetched last; it may have ended.
    StsPolicy(DomainName),
    /// One report about TLS.
    TlsReport {
        /// Of which day.
        day: u32,
        /// To whom.
        domain: DomainName,
    },
    /// Reports about TLS that are due, longest due first.
    TlsReportsDue {
        /// The asker's clock.
        now: UnixMillis,
        /// At most this many (1 to 1,000).
        rows_max: u32,
    },
    /// The domains that a day has reports to, sorted.
    TlsReportDomains {
        /// Which day.
        day: u32,
        /// The last one of the page before.
        after: Option<DomainName>,
        /// At most this many (1 to 1,000).
        rows_max: u32,
    },
    /// Where an account's mail is sent on to.
    Forwarding(AccountId),
    /// Accounts whose mail is sent on, sorted by the account's number; a page begins behind that number.
    Forwardings(Page),
    /// All nodes, removed ones too, sorted by name.
    Nodes,
    /// The cluster's authority, its key included: no gateway is told.
    Authority,
    /// The tokens that wait to be used.
    JoinTokens,
}

/// One mailbox owner that an address leads to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LocalRecipient {
    /// The account.
    pub account: AccountId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its domain.
    pub domain: DomainId,
    /// Its shard.
    pub group: GroupId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its main address.
    pub address: Address,
    /// Subaddress: the folder wanted, when policy allows one.
    pub folder: Option<String>,
    /// The owner of the list that led here: the sender of this copy, unless that is null (RFC 5321 3.9.2).
    pub list_owner: Option<Address>,
}

/// An address outside that mail for an address of ours is sent on to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Onward {
    /// Where to; not a domain of ours.
    pub address: Address,
    /// Who sends it on: the main address of the account that forwards, the alias, or the list.
    pub by: Address,
    /// Whose content it is: the tenant of `by`.
    pub tenant: TenantId,
    /// Which group keeps it: the account's, or one that the address picks.
    pub group: GroupId,
    /// A list with an owner led here: what the sender asked to be told of is not passed on (RFC 3461 5.2.7.3).
    pub through_list: bool,
    /// The owner of that list, who gets its bounces (RFC 5321 3.9.2); where there is none the sender gets them.
    pub list_owner: Option<Address>,
}

/// Where mail for an address of ours goes: not nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Destinations {
    /// Distinct active accounts.
    pub accounts: Vec<LocalRecipient>,
    /// Distinct addresses outside.
    pub onward: Vec<Onward>,
}

impl From<Vec<LocalRecipient>> for Destinations {
    fn from(accounts: Vec<LocalRecipient>) -> Self {
        Self { accounts, onward: Vec::new() }
    }
}

/// Where mail for an address goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Resolution {
    /// Not a domain of ours: only who may relay may send there.
    Foreign,
    /// 550 5.1.1
    Unknown,
    /// 550 5.2.1: the address leads to one account and that is suspended.
    Suspended,
    /// Accounts and addresses outside, at least one, together at most [`crate::limits::GROUP_MEMBERS_MAX`]. A
    /// list's suspended members are left out.
    Local(Destinations),
    /// 451 4.3.5: more than that, or deeper than [`crate::limits::ALIAS_DEPTH_MAX`], at this list, alias or account on
    /// the way. Nobody gets the mail until that is put right. It happens where members of a list were outside, and
    /// their domain has become ours and has a catch-all that leads to many.
    TooMany(Address),
}

/// The cluster's fixed facts. No `Debug`: it holds keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// A UUID.
    pub id: [u8; 16],
    /// What tenants' keyed hashes are derived from.
    pub content_key: [u8; 32],
    /// What salts for unknown users are derived from.
    pub login_key: [u8; 32],
    /// Groups 1 to this one are shards.
    pub shards: u32,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster {{ id: {}, shards: {} }}", uuid::Uuid::from_bytes(self.id), self.shards)
    }
}

/// What the directory answers. `None` where there is no such thing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DirectoryAnswer {
    /// To `Cluster`; `None` before `Initialise`.
    Cluster(Option<Cluster>),
    /// To `Resolve` and `ResolvePostmaster`.
    Resolution(Resolution),
    /// To `Credentials`.
    Credentials(Option<Box<Credentials>>),
    /// To `AccountById` and `AccountByAddress`.
    Account(Option<Account>),
    /// To `Domain`.
    Domain(Option<Domain>),
    /// To `Domains`.
    Domains(Vec<Domain>),
    /// To `Accounts`.
    Accounts(Vec<Account>),
    /// To `Aliases`.
    Aliases(Vec<Alias>),
    /// To `Lists`.
    Lists(Vec<List>),
    /// To `List`.
    List(Option<List>),
    /// To `Policy`: the value and the scope that set it; `None` scope: the default. An unknown key has no value.
    Policy(Option<(String, Option<Scope>)>),
    /// To `Policies`: key, scope, value.
    Policies(Vec<(String, Scope, String)>),
    /// To `SenderRight`.
    SenderRight(SenderRight),
    /// To `SendingGrants`.
    SendingGrants(Vec<Grant>),
    /// To `RelayGrants`.
    RelayGrants(Vec<RelayGrant>),
    /// To `DkimKeys`; none for a domain that is not ours.
    DkimKeys(Vec<DkimKey>),
    /// To `StsPolicy`.
    StsPolicy(Option<StsPolicyRow>),
    /// To `TlsReport`.
    TlsReport(Option<Box<TlsReport>>),
    /// To `TlsReportsDue`: days and domains.
    TlsReportsDue(Vec<(u32, DomainName)>),
    /// To `TlsReportDomains`.
    TlsReportDomains(Vec<DomainName>),
    /// To `Forwarding`.
    Forwarding(Option<Forwarding>),
    /// To `Forwardings`.
    Forwardings(Vec<(Account, Forwarding)>),
    /// To `Nodes`.
    Nodes(Vec<Node>),
    /// To `Authority`.
    Authority(Option<Authority>),
    /// To `JoinTokens`.
    JoinTokens(Vec<JoinToken>),
}
