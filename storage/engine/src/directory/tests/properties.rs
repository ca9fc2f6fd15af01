//! Whatever is commanded, in whatever order: the invariants hold, every query ends, replicas are byte-equal.

use proptest::prelude::*;
use securanet_model::{
    AccountId, AppPasswordId,
    dkim::{DkimAlgorithm, DkimState, PrivateKey},
    policy::Scope,
};

use super::*;

const LOCALS: [&str; 7] = ["a", "b", "c", "a+x", "b+x", "postmaster", "A"];
const DOMAINS: [&str; 3] = ["example.org", "example.net", "example.com"];

fn any_address() -> impl Strategy<Value = String> {
    (0..LOCALS.len(), 0..10_usize).prop_map(|(local, domain)| {
        // Mostly the first domain, so that commands meet each other.
        format!("{}@{}", LOCALS[local], DOMAINS[domain.saturating_sub(7)])
    })
}

fn any_scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::Cluster),
        (1..4_u32).prop_map(|id| Scope::Domain(securanet_model::DomainId::new(id))),
        (1..6_u64).prop_map(|id| Scope::Account(AccountId::new(id))),
    ]
}

/// Adds a key, makes it active, forgets it.
fn dkim_step(domain: DomainName, step: u8) -> DirectoryCommand {
    let selector = "s".parse().unwrap();
    match step {
        0 => {
            let private = PrivateKey::new(vec![1]);
            DirectoryCommand::PutDkimKey { domain, selector, algorithm: DkimAlgorithm::RsaSha256, private }
        }
        1 => DirectoryCommand::SetDkimState { domain, selector, state: DkimState::Active },
        _ => DirectoryCommand::DeleteDkimKey { domain, selector },
    }
}

fn any_command() -> impl Strategy<Value = DirectoryCommand> {
    let domain = || (0..DOMAINS.len()).prop_map(|n| name(DOMAINS[n]));
    let account = || (1..8_u64).prop_map(AccountId::new);
    prop_oneof![
        1 => domain().prop_map(|name| DirectoryCommand::CreateDomain { tenant: TenantId::new(1), name }),
        1 => domain().prop_map(|name| DirectoryCommand::DeleteDomain { name }),
        2 => (domain(), proptest::option::of(any_address())).prop_map(|(name, target)| {
            DirectoryCommand::UpdateDomain { name, catch_all: Some(target.map(|text| address(&text))), quota: None }
        }),
        5 => any_address().prop_map(|main| create_account(&main)),
        3 => account().prop_map(|account| DirectoryCommand::DeleteAccount { account }),
        2 => (account(), any::<bool>()).prop_map(|(account, active)| {
            let status = Some(if active { AccountStatus::Active } else { AccountStatus::Suspended });
            DirectoryCommand::UpdateAccount { account, display_name: None, status, quota: None }
        }),
        5 => (any_address(), any_address()).prop_map(|(alias, target)| create_alias(&alias, &target)),
        3 => any_address().prop_map(|alias| DirectoryCommand::DeleteAlias { address: address(&alias) }),
        6 => (any_address(), proptest::collection::vec(any_address(), 0..4), proptest::option::of(any_address()))
            .prop_map(|(list, members, owner)| DirectoryCommand::PutListAnywhere(List {
                address: address(&list),
                owner: owner.map(|owner| address(&owner)),
                members: members.iter().map(|member| address(member)).collect(),
            })),
        4 => (account(), proptest::option::of(proptest::collection::vec(any_address(), 0..4)), any::<bool>()).prop_map(
            |(account, to, keep)| {
                let to = to.map(|to| to.iter().map(|target| address(target)).collect());
                DirectoryCommand::SetForwarding { account, forwarding: to.map(|to| Forwarding { to, keep }) }
            }
        ),
        2 => any_address().prop_map(|list| DirectoryCommand::DeleteList { address: address(&list) }),
        1 => account().prop_map(|account| DirectoryCommand::SetPassword { account, password: Some(verifiers(5)) }),
        1 => (account(), any::<bool>()).prop_map(|(account, add)| if add {
            DirectoryCommand::AddAppPassword { account, label: "phone".to_owned(), verifiers: verifiers(6) }
        } else {
            DirectoryCommand::RemoveAppPassword { account, id: AppPasswordId::new(1) }
        }),
        1 => (domain(), 0..3_u8).prop_map(|(domain, step)| dkim_step(domain, step)),
        1 => (any_scope(), any::<bool>()).prop_map(|(scope, on)| DirectoryCommand::SetPolicy {
            key: "smtp.subaddress_folder".to_owned(),
            scope,
            value: Some(on.to_string()),
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_each_command_and_replicas_are_equal(
        commands in proptest::collection::vec(any_command(), 1..50),
    ) {
        let mut office = Office::new();
        office.domain("example.net");
        let mut ids = Vec::new();
        for command in commands {
            // `run` checks the invariants, and that a refusal changes nothing.
            if let DirectoryReply::Account(account) = office.run(command.clone())
                && matches!(command, DirectoryCommand::CreateAccount { .. })
            {
                ids.push(account.id);
            }
        }
        prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "account ids only grow");
        let all = LOCALS.iter().flat_map(|local| DOMAINS.iter().map(move |domain| format!("{local}@{domain}")));
        for text in all {
            if let DirectoryAnswer::Resolution(Resolution::Local(recipients)) =
                office.ask(DirectoryQuery::Resolve(address(&text)))
            {
                let onward: std::collections::BTreeSet<_> = recipients.onward.iter().map(|on| on.address.clone()).collect();
                prop_assert_eq!(onward.len(), recipients.onward.len(), "{} leads outside to one address twice", text);
                let foreign = |to: &Address| office.ask(DirectoryQuery::Domain(to.domain().clone())) == DirectoryAnswer::Domain(None);
                prop_assert!(onward.iter().all(foreign), "{} leads outside to one of ours", text);
                prop_assert!(!recipients.accounts.is_empty() || !onward.is_empty(), "{} leads to somebody or to nobody", text);
                let mut accounts: Vec<_> = recipients.accounts.iter().map(|recipient| recipient.account).collect();
                accounts.sort_unstable();
                prop_assert!(accounts.windows(2).all(|pair| pair[0] < pair[1]), "{} names an account twice", text);
            }
            office.credentials(&text);
        }
        prop_assert_eq!(office.group.replayed().rows(), office.group.rows());
    }
}
