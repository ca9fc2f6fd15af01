//! What must hold between the rows of all accounts after each command, read from their keys alone.

use std::collections::{BTreeMap, BTreeSet};

use securanet_engine::keys::{Fields, SPACE_OCTETS, Table};
use securanet_model::{
    BlobId, EmailId, MailboxId, TenantId,
    account::{AccountAnswer, AccountQuery},
};

use crate::world::World;

type Rows = BTreeMap<u8, Vec<Vec<u8>>>;

/// Panics with the broken invariant.
pub(crate) fn check(world: &World, accounts: &[u64]) {
    let rows = by_table(world);
    for &account in accounts {
        check_instances(world, &rows, account);
        check_emails(world, &rows, account);
        check_mailboxes(world, &rows, account);
    }
    check_reachability(world, &rows, accounts);
}

/// The keys of each table, without space and table.
fn by_table(world: &World) -> Rows {
    let mut tables = Rows::new();
    for key in world.rows().into_keys() {
        tables.entry(key[0]).or_default().push(key[1..].to_vec());
    }
    tables
}

fn of(rows: &Rows, table: Table, account: u64) -> Vec<&[u8]> {
    let all = rows.get(&(table as u8)).map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(|key| key.strip_prefix(&account.to_be_bytes()[..])).collect()
}

fn numbers<const N: usize>(key: &[u8], widths: [usize; N]) -> [u64; N] {
    let mut stored = vec![0; SPACE_OCTETS + 1];
    stored.extend_from_slice(key);
    let mut fields = Fields::of(&stored).unwrap();
    widths.map(|width| if width == 4 { u64::from(fields.u32().unwrap()) } else { fields.u64().unwrap() })
}

fn check_instances(world: &World, rows: &Rows, account: u64) {
    let (mut instances, mut by_modseq, mut by_email) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for mailbox in world.mailboxes(account) {
        for state in world.states(account, mailbox.id) {
            let place = (u64::from(mailbox.id.get()), u64::from(state.uid.get()));
            instances.insert(place);
            by_modseq.insert((place.0, state.modseq.get(), place.1));
            by_email.insert((state.email.get(), place.0, place.1));
        }
    }
    let stored: BTreeSet<_> =
        of(rows, Table::Instance, account).iter().map(|key| numbers(key, [4, 4])).map(|[m, u]| (m, u)).collect();
    assert_eq!(stored, instances, "instances are those of mailboxes that exist");
    let stored: BTreeSet<_> = of(rows, Table::InstanceByModSeq, account)
        .iter()
        .map(|key| numbers(key, [4, 8, 4]))
        .map(|[m, s, u]| (m, s, u))
        .collect();
    assert_eq!(stored, by_modseq, "each instance stands once in the order of changes");
    let stored: BTreeSet<_> = of(rows, Table::EmailInstance, account)
        .iter()
        .map(|key| numbers(key, [8, 4, 4]))
        .map(|[e, m, u]| (e, m, u))
        .collect();
    assert_eq!(stored, by_email, "each instance stands once under its email");
}

fn emails(rows: &Rows, table: Table, account: u64) -> BTreeSet<u64> {
    of(rows, table, account).iter().map(|key| numbers(key, [8])[0]).collect()
}

fn check_emails(world: &World, rows: &Rows, account: u64) {
    let placed: BTreeSet<u64> = emails(rows, Table::EmailInstance, account);
    assert_eq!(emails(rows, Table::Email, account), placed, "no email without an instance, none lost");
    assert_eq!(emails(rows, Table::EmailContent, account), placed, "no content without an email, none lost");
    let with_blobs: BTreeSet<u64> =
        placed.iter().copied().filter(|&email| !blobs_of(world, account, email).is_empty()).collect();
    assert_eq!(emails(rows, Table::EmailBlobs, account), with_blobs, "a row of blobs for each email that has some");
}

fn blobs_of(world: &World, account: u64, email: u64) -> Vec<BlobId> {
    match world.ask(account, AccountQuery::Content(EmailId::new(email))) {
        AccountAnswer::Content(Some(content)) => content.blobs,
        other => panic!("email {email} of account {account}: {other:?}"),
    }
}

fn check_mailboxes(world: &World, rows: &Rows, account: u64) {
    let infos = world.mailboxes(account);
    let existing: BTreeSet<u64> = infos.iter().map(|info| u64::from(info.id.get())).collect();
    let mailboxes = |table| of(rows, table, account).iter().map(|key| numbers(key, [4])[0]).collect::<BTreeSet<_>>();
    for table in [Table::Mailbox, Table::MailboxCounters] {
        assert_eq!(mailboxes(table), existing, "{table:?}");
    }
    for table in [Table::MailboxKeywords, Table::Tombstones] {
        assert!(mailboxes(table).is_subset(&existing), "{table:?} has rows of a mailbox that is gone");
    }
    assert_eq!(of(rows, Table::MailboxByName, account).len(), existing.len(), "each mailbox has one name");
    for info in infos {
        let by_id = world.ask(account, AccountQuery::MailboxById(info.id));
        assert_eq!(by_id, AccountAnswer::Mailbox(Some(Box::new(info.clone()))), "one and all agree");
        let by_name = world.ask(account, AccountQuery::MailboxByName(info.name.clone()));
        assert_eq!(by_name, by_id, "name and id agree");
        let parent = info.name.parent();
        assert!(
            parent.is_none_or(|parent| world.names(account).contains(&parent.to_string())),
            "{} has no parent",
            info.name
        );
    }
    assert!(existing.contains(&u64::from(MailboxId::new(1).get())), "INBOX is always there");
}

fn check_reachability(world: &World, rows: &Rows, accounts: &[u64]) {
    let mut named = BTreeSet::new();
    for &account in accounts {
        for email in emails(rows, Table::Email, account) {
            named.extend(blobs_of(world, account, email).into_iter().map(|blob| (blob, account, email)));
        }
    }
    let stored = rows.get(&(Table::BlobReachability as u8)).into_iter().flatten().map(|key| {
        let (hash, owner) = key[4..].split_first_chunk::<32>().unwrap();
        let tenant = TenantId::new(u32::from_be_bytes(*key.first_chunk().unwrap()));
        assert_eq!(owner[0], 1, "a message of an account");
        let [account, email] = numbers(&owner[1..], [8, 8]);
        (BlobId { tenant, hash: *hash }, account, email)
    });
    let stored: BTreeSet<_> = stored.collect();
    assert_eq!(stored, named, "a blob is reachable from exactly the messages that name it");
}
