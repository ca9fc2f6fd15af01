//! Group 0, the directory: domains, accounts, addresses, lists, credentials and policies.
//!
//! Written at human rate, read at traffic rate: commands check and cascade so that queries need not. Every
//! address of ours is one row of [`Table::Address`] that says what it is, which makes addresses unique across
//! accounts, aliases and lists; who names an address stands in [`Table::Referrer`] ([`references`]).
//!
//! Invariants, checked by the tests after each command: ids only grow; an address has exactly one row and its
//! thing exists; an owner or catch-all exists; a target, a member and what is forwarded to exists or was outside when
//! it was named; no alias, list or forwarding leads back to itself, none is deeper than [`ALIAS_DEPTH_MAX`] or names
//! more than [`GROUP_MEMBERS_MAX`] members, nested ones and what members forward to included.
//!
//! [`ALIAS_DEPTH_MAX`]: securanet_model::limits::ALIAS_DEPTH_MAX
//! [`GROUP_MEMBERS_MAX`]: securanet_model::limits::GROUP_MEMBERS_MAX

mod accounts;
mod addresses;
mod aliases;
mod check;
mod cluster;
mod credentials;
mod dkim;
mod domains;
mod forwardings;
mod grants;
mod lists;
mod nodes;
mod pages;
mod policies;
mod references;
mod relays;
mod resolve;
mod sts;
mod tls_reports;

use securanet_model::{
    UnixMillis,
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryRefusal, DirectoryReply},
    nodes::NodeName,
    request::Topic,
};

use self::addresses::Reach;
use crate::{
    EngineError,
    keys::Table,
    tx::{ReadView, Tx},
};

/// Why a command was not done: refused by the directory's rules, or the engine cannot go on.
#[derive(Debug)]
enum Failure {
    Refused(DirectoryRefusal),
    Engine(EngineError),
}

impl From<DirectoryRefusal> for Failure {
    fn from(refusal: DirectoryRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

type Outcome = Result<DirectoryReply, Failure>;

/// Applies a command. A refusal may leave changes behind in `tx`: whoever calls rolls back.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    command: &DirectoryCommand,
) -> Result<DirectoryReply, EngineError> {
    match run(tx, clock, command) {
        Ok(reply) => {
            // What was learned of strangers changes nothing that anybody watches.
            let of_strangers = matches!(
                command,
                DirectoryCommand::PutStsPolicy(_)
                    | DirectoryCommand::CountTls(_)
                    | DirectoryCommand::TakeTlsReport { .. }
                    | DirectoryCommand::SettleTlsReport { .. }
                    | DirectoryCommand::SendTlsReports { .. }
            );
            if !of_strangers {
                tx.touch(Topic::Directory);
            }
            Ok(reply)
        }
        Err(Failure::Refused(refusal)) => Ok(DirectoryReply::Refused(refusal)),
        Err(Failure::Engine(error)) => Err(error),
    }
}

fn run(tx: &mut Tx<'_>, clock: UnixMillis, command: &DirectoryCommand) -> Outcome {
    use DirectoryCommand as C;
    if let C::Initialise { cluster, content_key, login_key, shards } = command {
        return cluster::initialise(tx, (*cluster, *content_key, *login_key, *shards));
    }
    let Some(cluster) = cluster::get(&tx.view())? else {
        return Err(DirectoryRefusal::NotInitialised.into());
    };
    match command {
        C::Initialise { .. } => Err(DirectoryRefusal::AlreadyInitialised.into()),
        C::CreateDomain { tenant, name } => domains::create(tx, *tenant, name),
        C::UpdateDomain { name, catch_all, quota } => domains::update(tx, name, catch_all.as_ref(), *quota),
        C::DeleteDomain { name } => domains::delete(tx, name),
        C::CreateAccount { address, display_name, password, quota } => {
            let new = accounts::NewAccount { address, display_name, password: password.as_ref(), quota: *quota };
            accounts::create(tx, clock, &new, |id| accounts::first_shard(id, cluster.shards))
        }
        C::CreateAccountIn { site, address, display_name, password, quota } => {
            let new = accounts::NewAccount { address, display_name, password: password.as_ref(), quota: *quota };
            let shards = nodes::shards_at_home(&tx.view(), cluster.shards, site)?;
            accounts::create(tx, clock, &new, |id| accounts::one_of(id, &shards))
        }
        C::UpdateAccount { account, display_name, status, quota } => {
            accounts::update(tx, *account, display_name.as_deref(), *status, *quota)
        }
        C::DeleteAccount { account } => accounts::delete(tx, *account),
        C::SetPassword { account, password } => credentials::set_password(tx, *account, password.as_ref()),
        C::AddAppPassword { account, label, verifiers } => {
            credentials::add_app_password(tx, clock, *account, label, verifiers)
        }
        C::RemoveAppPassword { account, id } => credentials::remove_app_password(tx, *account, *id),
        C::CreateAlias(alias) => aliases::create(tx, alias, Reach::Ours),
        C::CreateAliasAnywhere(alias) => aliases::create(tx, alias, Reach::Anywhere),
        C::DeleteAlias { address } => aliases::delete(tx, address),
        C::PutList(list) => lists::put(tx, list, Reach::Ours),
        C::PutListAnywhere(list) => lists::put(tx, list, Reach::Anywhere),
        C::DeleteList { address } => lists::delete(tx, address),
        C::SetPolicy { key, scope, value } => policies::set(tx, key, *scope, value.as_deref()),
        C::GrantSending(grant) => grants::add(tx, grant),
        C::RevokeSending(grant) => grants::revoke(tx, grant),
        C::PutRelay(relay) => relays::put(tx, relay),
        C::DeleteRelay { name } => relays::delete(tx, name),
        C::PutDkimKey { domain, selector, algorithm, private } => {
            dkim::put(tx, clock, domain, selector, (*algorithm, private))
        }
        C::SetDkimState { domain, selector, state } => dkim::set_state(tx, domain, selector, *state),
        C::DeleteDkimKey { domain, selector } => dkim::delete(tx, domain, selector),
        C::PutStsPolicy(policy) => sts::put(tx, clock, policy),
        C::CountTls(counts) => tls_reports::count(tx, clock, counts),
        C::TakeTlsReport { day, domain, by } => tls_reports::take(tx, clock, (*day, domain), *by),
        C::SettleTlsReport { day, domain, by, done, again_after } => {
            tls_reports::settle(tx, clock, (*day, domain), *by, (done, *again_after))
        }
        C::SendTlsReports { day, domains } => tls_reports::send_now(tx, clock, *day, domains),
        C::SetForwarding { account, forwarding } => forwardings::set(tx, *account, forwarding.as_ref()),
        C::SetAuthority(authority) => nodes::set_authority(tx, authority),
        C::FoundCluster(facts) => nodes::found(tx, clock, facts),
        C::PutJoinToken(token) => nodes::put_token(tx, clock, token),
        C::Join { token, key, facts } => nodes::join(tx, clock, (token, key), facts),
        C::UpdateNode(facts) => nodes::update(tx, facts),
        C::SetNodeState { name, state } => nodes::set_state(tx, name, *state),
    }
}

/// The directory was rebuilt from what one replica had: its counters jump, and the nodes that were given up are out.
pub(crate) fn recover(tx: &mut Tx<'_>, lost: &[NodeName]) -> Result<(), EngineError> {
    cluster::jump(tx)?;
    nodes::jump(tx)?;
    lost.iter().try_for_each(|name| nodes::give_up(tx, name))?;
    tx.touch(Topic::Directory);
    Ok(())
}

/// Answers a query.
pub(crate) fn answer(view: &ReadView<'_>, query: &DirectoryQuery) -> Result<DirectoryAnswer, EngineError> {
    use DirectoryAnswer as A;
    use DirectoryQuery as Q;
    Ok(match query {
        Q::Cluster => A::Cluster(cluster::get(view)?),
        Q::Resolve(address) => A::Resolution(resolve::resolve(view, address)?),
        Q::ResolvePostmaster => A::Resolution(resolve::postmaster(view)?),
        Q::Credentials(login) => A::Credentials(credentials::by_login(view, login)?.map(Box::new)),
        Q::AccountById(account) => A::Account(accounts::get(view, *account)?),
        Q::AccountByAddress(address) => A::Account(accounts::by_address(view, address)?),
        Q::Domain(name) => A::Domain(domains::get(view, name)?),
        Q::Domains(page) => A::Domains(pages::domains(view, page)?),
        Q::Accounts(domain, page) => A::Accounts(pages::accounts(view, domain.as_ref(), page)?),
        Q::Aliases(page) => A::Aliases(pages::addressed(view, Table::Alias, page)?),
        Q::Lists(page) => A::Lists(pages::addressed(view, Table::List, page)?),
        Q::List(address) => A::List(lists::get(view, address)?),
        Q::Policy(key, scope) => A::Policy(policies::effective(view, key, *scope)?),
        Q::Policies => A::Policies(policies::all(view)?),
        Q::SenderRight(account, address) => A::SenderRight(grants::right(view, *account, address)?),
        Q::SendingGrants(account) => A::SendingGrants(grants::of(view, *account)?),
        Q::RelayGrants => A::RelayGrants(relays::all(view)?),
        Q::DkimKeys(domain) => A::DkimKeys(dkim::of(view, domain)?),
        Q::StsPolicy(domain) => A::StsPolicy(sts::get(view, domain)?),
        Q::TlsReport { day, domain } => A::TlsReport(tls_reports::get(view, *day, domain)?.map(Box::new)),
        Q::TlsReportsDue { now, rows_max } => A::TlsReportsDue(tls_reports::due(view, *now, *rows_max)?),
        Q::TlsReportDomains { day, after, rows_max } => {
            A::TlsReportDomains(tls_reports::of_day(view, *day, after.as_ref(), *rows_max)?)
        }
        Q::Forwarding(account) => A::Forwarding(forwardings::get(view, *account)?),
        Q::Forwardings(page) => A::Forwardings(forwardings::page(view, page)?),
        Q::Nodes => A::Nodes(nodes::all(view)?),
        Q::Authority => A::Authority(nodes::authority(view)?),
        Q::JoinTokens => A::JoinTokens(nodes::tokens(view)?),
    })
}

#[cfg(test)]
mod tests;
