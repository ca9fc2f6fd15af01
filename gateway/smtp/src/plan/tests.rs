//! The plan as a table: who is addressed, and which commands go to which group.

use securanet_gateway::model::{
    Address, DomainId, EmailId, Epoch, KeyedHash, MailboxId, Uid, UnixMillis,
    content::{NewMessage, Sealed},
    delivery::{FanOut, FanOutTarget},
    directory::LocalRecipient,
    outbound::{Acceptance, AcceptedItem, Notify, Origin, Outbound, OutboundCommand, OutboundReply},
};

use super::*;
use crate::{
    envelope::{Accepted, Outlet},
    grammar::{ForwardPath, MailFrom, RcptTo},
};

fn account(id: u64, group: u32, tenant: u32) -> LocalRecipient {
    LocalRecipient {
        account: AccountId::new(id),
        tenant: TenantId::new(tenant),
        domain: DomainId::new(1),
        group: GroupId::new(group),
        epoch: Epoch::new(1),
        address: Address::parse(&format!("user{id}@example.org")).unwrap(),
        folder: None,
        list_owner: None,
    }
}

fn envelope(recipients: &[(&str, &[LocalRecipient])]) -> Envelope {
    let sender = ReversePath::Address(Address::parse("sender@example.net").unwrap());
    let mail = MailFrom::new(sender);
    let mut envelope = Envelope::new(mail);
    for (address, accounts) in recipients {
        let recipient = ForwardPath::Address(Address::parse(address).unwrap());
        let rcpt = RcptTo { recipient, has_utf8: false, notify: Notify::Default, original: None };
        let role = address.starts_with("postmaster");
        envelope.add(rcpt, Accepted::Local { accounts: accounts.to_vec(), onward: Vec::new(), role }).unwrap();
    }
    envelope
}

fn ingested(message_id: Option<&str>) -> Ingested {
    let sealed = Sealed::plain(1, Vec::new());
    Ingested {
        message: NewMessage {
            size_bytes: 10,
            recipe: sealed.clone(),
            blobs: Vec::new(),
            summary: sealed,
            thread_keys: Vec::new(),
            internal_date: None,
        },
        received_count: 0,
        repeat_key: KeyedHash([7; 16]),
        message_id: message_id.map(str::to_owned),
        delivered_to: Vec::new(),
        lease_until: UnixMillis::new(0),
    }
}

fn plan(envelope: &Envelope, separate: bool) -> Plan {
    let messages: Vec<_> = envelope.tenants.iter().map(|&tenant| (tenant, ingested(Some("<a@b>")))).collect();
    Plan::new(envelope, &messages, Seen::default(), separate)
}

/// A plan as text: `group: command rule accounts`, one line per command.
#[track_caller]
fn check(recipients: &[(&str, &[LocalRecipient])], separate: bool, expect: &[&str]) {
    check_envelope(&envelope(recipients), separate, expect);
}

fn ids(to: &[DeliverTo]) -> String {
    to.iter().map(|to| to.account.id.to_string()).collect::<Vec<_>>().join(" ")
}

/// What an acceptance has for mailboxes and for the world.
fn accepted(acceptance: &Acceptance) -> String {
    let of_accounts = |fan_out: &FanOut| {
        fan_out.targets.iter().map(|target| format!("{}({}) ", target.group, ids(&target.to))).collect::<String>()
    };
    let outside = |outbound: &Outbound| {
        let by = if let Origin::Forward(by) = &outbound.origin { format!("{by} ") } else { String::new() };
        let to: Vec<_> = outbound.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
        format!(" and {by}{}: {}", outbound.sender, to.join(" "))
    };
    let accounts: Vec<_> = acceptance.fan_out.iter().map(of_accounts).collect();
    let outbound: String = acceptance.outbound.iter().map(outside).collect();
    format!("accept {}{outbound}", accounts.join("| "))
}

#[track_caller]
fn check_envelope(envelope: &Envelope, separate: bool, expect: &[&str]) {
    let mut lines = Vec::new();
    for request in plan(envelope, separate).requests {
        for command in &request.commands {
            let text = match command {
                Command::Deliver(deliver) => format!("deliver {:?} {}", deliver.quota, ids(&deliver.to)),
                Command::Queue(QueueCommand::FanOut(fan_out)) => {
                    let target = |target: &FanOutTarget| format!("{}({})", target.group, ids(&target.to));
                    format!("fan out {}", fan_out.targets.iter().map(target).collect::<Vec<_>>().join(" "))
                }
                Command::Outbound(OutboundCommand::Accept(acceptance)) => accepted(acceptance),
                other => format!("{other:?}"),
            };
            lines.push(format!("{}: {text}", request.group));
        }
    }
    assert_eq!(lines, expect);
}

#[test]
fn one_recipient_is_one_delivery_that_respects_its_quota() {
    check(&[("a@example.org", &[account(1, 4, 1)])], false, &["4: deliver Enforced 1"]);
    check(&[("postmaster@example.org", &[account(1, 4, 1)])], false, &["4: deliver Admitted 1"]);
}

#[test]
fn recipients_of_one_group_are_one_delivery_that_was_admitted_at_rcpt() {
    let [a, b] = [account(1, 4, 1), account(2, 4, 1)];
    check(
        &[("a@example.org", std::slice::from_ref(&a)), ("b@example.org", std::slice::from_ref(&b))],
        false,
        &["4: deliver Admitted 1 2"],
    );
    check(&[("list@example.org", &[a, b])], false, &["4: deliver Admitted 1 2"]);
}

#[test]
fn recipients_of_several_groups_are_one_fan_out_in_the_group_of_the_first() {
    let list = [account(1, 4, 1), account(2, 2, 1), account(3, 4, 1)];
    check(&[("list@example.org", &list)], false, &["4: fan out 4(1 3) 2(2)"]);
}

#[test]
fn each_tenant_has_its_own_content_and_all_are_committed_together() {
    let [a, b, c] = [account(1, 4, 1), account(2, 4, 9), account(3, 2, 9)];
    check(&[("list@example.org", &[a.clone(), b.clone()])], false, &["4: deliver Admitted 1", "4: deliver Admitted 2"]);
    check(&[("list@example.org", &[a, b, c])], false, &["4: fan out 4(1)", "4: fan out 4(2) 2(3)"]);
}

/// An envelope that an account of tenant 1 in group 4 submits; a recipient without accounts is in the world.
fn submitted(recipients: &[(&str, &[LocalRecipient])]) -> Envelope {
    let mut envelope = Envelope::new(MailFrom::new(ReversePath::Null));
    let origin = Origin::Account(AccountId::new(9));
    envelope.outlet = Some(Outlet { group: GroupId::new(4), tenant: TenantId::new(1), origin });
    for (text, accounts) in recipients {
        let address = Address::parse(text).unwrap();
        let destination = address.domain().as_str().to_owned();
        let recipient = ForwardPath::Address(address);
        let rcpt = RcptTo { recipient, has_utf8: false, notify: Notify::Default, original: None };
        let local = Accepted::Local { accounts: accounts.to_vec(), onward: Vec::new(), role: false };
        let accepted = if accounts.is_empty() { Accepted::Outside { destination } } else { local };
        envelope.add(rcpt, accepted).unwrap();
    }
    envelope
}

#[test]
fn recipients_in_the_world_make_all_of_it_one_acceptance_in_the_submitters_group() {
    let [here, there, foreign] = [account(1, 4, 1), account(2, 2, 1), account(3, 2, 9)];
    let world: &[LocalRecipient] = &[];
    check_envelope(&submitted(&[("a@b.example", world)]), false, &["4: accept  and <>: a@b.example"]);
    let list = [there.clone(), here.clone()];
    let recipients = [("a@b.example", world), ("list@example.org", &list), ("A@B.example", world)];
    check_envelope(&submitted(&recipients), false, &["4: accept 2(2) 4(1)  and <>: a@b.example"]);
    let envelope = submitted(&[("a@b.example", world), ("x@example.net", std::slice::from_ref(&foreign))]);
    check_envelope(&envelope, false, &["4: accept 2(3)  and <>: a@b.example"]);
    let alone = submitted(&[("x@example.org", std::slice::from_ref(&there))]);
    check_envelope(&alone, false, &["2: deliver Enforced 2"]);
}

#[test]
fn the_world_has_a_fate_of_its_own() {
    let world: &[LocalRecipient] = &[];
    let here = [account(1, 4, 1)];
    let plan = plan(&submitted(&[("a@b.example", world), ("x@example.org", &here), ("c@d.example", world)]), false);
    assert_eq!(plan.by_recipient, [vec![1], vec![0], vec![2]]);
    let done = |reply| Ok(Executed { replies: vec![StoreReply::Outbound(reply)], index: 1 });
    let accepted = [done(OutboundReply::Accepted(vec![AcceptedItem { item: 1, repeat: false }]))];
    assert!(plan.fates(&accepted).iter().all(|fate| *fate == Fate::Kept { repeat: false }));
    assert!(plan.requests[0].is_kept(&accepted[0]));
    let full = [done(OutboundReply::WindowFull(GroupId::new(2)))];
    assert!(plan.fates(&full).iter().all(|fate| matches!(fate, Fate::Later(_))));
    assert!(!plan.requests[0].is_kept(&full[0]));
}

/// An envelope of a stranger, or with a hold, whose recipients with `!` want to hear of the success.
fn asking(sender: ReversePath, hold: bool, recipients: &[(&str, &[LocalRecipient])]) -> Envelope {
    let mut envelope = Envelope::new(MailFrom::new(sender));
    envelope.hold_until = hold.then(|| UnixMillis::new(5));
    for (text, accounts) in recipients {
        let success = text.starts_with('!');
        let recipient = ForwardPath::Address(Address::parse(text.trim_start_matches('!')).unwrap());
        let notify = if success { Notify::On { success, failure: false, delay: false } } else { Notify::Never };
        let rcpt = RcptTo { recipient, has_utf8: false, notify, original: None };
        envelope.add(rcpt, Accepted::Local { accounts: accounts.to_vec(), onward: Vec::new(), role: false }).unwrap();
    }
    envelope
}

fn stranger() -> ReversePath {
    ReversePath::Address(Address::parse("sender@example.net").unwrap())
}

#[test]
fn rfc_3461_who_wants_to_hear_of_success_waits_in_the_queue_of_its_own_shard() {
    let (a, b) = ([account(1, 4, 1)], [account(2, 2, 1)]);
    let alone = asking(stranger(), false, &[("!a@example.org", &a)]);
    check_envelope(&alone, false, &["4: accept  and <sender@example.net>: a@example.org"]);
    let plan_alone = plan(&alone, false);
    let Command::Outbound(OutboundCommand::Accept(acceptance)) = &plan_alone.requests[0].commands[0] else {
        panic!("{plan_alone:?}")
    };
    let outbound = &acceptance.outbound[0];
    assert_eq!((&outbound.origin, outbound.recipients[0].is_local()), (&Origin::Local, true));
    let both = asking(stranger(), false, &[("a@example.org", &a), ("!b@example.org", &b)]);
    check_envelope(&both, false, &["2: accept 4(1)  and <sender@example.net>: b@example.org"]);
    assert_eq!(plan(&both, false).by_recipient, [[0], [1]]);
    let foreign = [account(3, 3, 9)];
    let two_tenants = asking(stranger(), false, &[("!a@example.org", &a), ("x@example.net", &foreign)]);
    check_envelope(&two_tenants, false, &["4: accept 3(3)  and <sender@example.net>: a@example.org"]);
}

#[test]
fn who_is_told_nothing_waits_for_nothing() {
    let a = [account(1, 4, 1)];
    check_envelope(&asking(ReversePath::Null, false, &[("!a@example.org", &a)]), false, &["4: deliver Enforced 1"]);
    check_envelope(&asking(stranger(), false, &[("a@example.org", &a)]), false, &["4: deliver Enforced 1"]);
    // In LMTP each recipient has a reply of its own.
    check_envelope(&asking(stranger(), false, &[("!a@example.org", &a)]), true, &["4: deliver Enforced 1"]);
}

#[test]
fn rfc_4865_what_is_held_waits_whoever_wants_to_hear_of_it() {
    let a = [account(1, 4, 1)];
    let held = asking(ReversePath::Null, true, &[("a@example.org", &a)]);
    check_envelope(&held, false, &["4: accept  and <>: a@example.org"]);
    let mut held = held;
    let rcpt = RcptTo { recipient: ForwardPath::Postmaster, has_utf8: false, notify: Notify::Default, original: None };
    let refused = held.add(rcpt, Accepted::Local { accounts: a.to_vec(), onward: Vec::new(), role: true });
    assert_eq!(refused.unwrap_err().code(), 550, "it has no address that the queue could keep");
}

#[test]
fn an_account_reached_twice_gets_one_copy_as_the_first_recipient_has_it() {
    let (first, second) = (account(1, 4, 1), LocalRecipient { folder: Some("tag".to_owned()), ..account(1, 4, 1) });
    let envelope = envelope(&[("alias@example.org", &[first]), ("user1+tag@example.org", &[second])]);
    let plan = plan(&envelope, false);
    let [Command::Deliver(deliver)] = plan.requests[0].commands.as_slice() else { panic!("{plan:?}") };
    let [to] = deliver.to.as_slice() else { panic!("{deliver:?}") };
    assert_eq!(to.folder, None);
    assert_eq!(to.prefix.bytes, b"Return-Path: <sender@example.net>\r\nDelivered-To: alias@example.org\r\n");
    assert_eq!(to.prefix_size_bytes, to.prefix.bytes.len() as u64);
    assert_eq!(plan.by_recipient, [[0], [0]]);
}

#[test]
fn rfc_2033_each_group_is_asked_by_itself_and_a_list_is_kept_whole() {
    let list = [account(3, 4, 1), account(4, 5, 1)];
    let recipients: [(&str, &[LocalRecipient]); 4] = [
        ("a@example.org", &[account(1, 4, 1)]),
        ("b@example.org", &[account(2, 2, 1)]),
        ("list@example.org", &list),
        ("postmaster@example.org", &[account(5, 4, 1)]),
    ];
    check(
        &recipients,
        true,
        &["4: deliver Enforced 1", "4: deliver Admitted 5", "2: deliver Enforced 2", "4: fan out 4(3) 5(4)"],
    );
}

#[test]
fn each_reply_of_the_store_has_its_meaning() {
    let outcome = |delivered| Some(StoreReply::Deliver(DeliverReply::Outcomes(vec![delivered])));
    let stored = Delivered::Stored { mailbox: MailboxId::new(1), uid: Uid::new(1), email: EmailId::new(1) };
    let refused = |refusal| outcome(Delivered::Refused(refusal));
    let gravity = |reply: Option<StoreReply>| fate(reply.as_ref(), 0).gravity();
    assert_eq!(fate(outcome(stored).as_ref(), 0), Fate::Kept { repeat: false });
    assert_eq!(fate(outcome(Delivered::Repeat).as_ref(), 0), Fate::Kept { repeat: true });
    assert_eq!(fate(Some(&StoreReply::Queue(QueueReply::Queued(1))), 0), Fate::Kept { repeat: false });
    assert_eq!(fate(refused(AccountRefusal::OverQuota).as_ref(), 0), Fate::OverQuota);
    assert_eq!(fate(refused(AccountRefusal::NoAccount).as_ref(), 0), Fate::Elsewhere);
    assert_eq!(fate(refused(AccountRefusal::WrongEpoch(Epoch::new(2))).as_ref(), 0), Fate::Elsewhere);
    assert_eq!(gravity(Some(StoreReply::Queue(QueueReply::WindowFull(GroupId::new(1))))), 2);
    assert_eq!(gravity(Some(StoreReply::Unknown)), 4);
    assert_eq!(gravity(Some(StoreReply::WrongGroup)), 4);
    assert_eq!(gravity(None), 4);
    assert_eq!(fate(outcome(Delivered::Repeat).as_ref(), 1).gravity(), 4);
}
