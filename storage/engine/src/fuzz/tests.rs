//! Damaged bytes, seeded.

use securanet_kv::Read;
use securanet_model::{
    Address, Command, DomainName, Execute, GroupId, RecipientAddress, ReversePath, TenantId, UnixMillis,
    account::{AccountRef, AccountRefusal},
    content::{NewMessage, Sealed},
    delivery::{Deliver, DeliverTo, DeliveryKey, FanOut, FanOutTarget, QueueCommand, QuotaRule},
    directory::{Alias, DirectoryCommand, List, Quota},
    outbound::{
        Acceptance, Action, Attempt, EnvelopeOptions, Notice, Notify, Origin, Outbound, OutboundCommand,
        OutboundRecipient, Outcome, Place, Schedule, Settlement, WorkerId,
    },
};

use super::*;
use crate::harness::{Group, Noise};

fn message() -> NewMessage {
    NewMessage {
        size_bytes: 10,
        recipe: Sealed::plain(1, vec![7; 10]),
        blobs: Vec::new(),
        summary: Sealed::plain(1, vec![1, 2, 3]),
        thread_keys: Vec::new(),
        internal_date: None,
    }
}

fn recipient(id: u64) -> DeliverTo {
    let account = AccountRef { id: securanet_model::AccountId::new(id), epoch: securanet_model::Epoch::new(0) };
    DeliverTo { account, folder: None, prefix: Sealed::plain(1, vec![1]), prefix_size_bytes: 1, repeat_key: None }
}

fn directory_commands() -> Vec<Command> {
    let address = |text: &str| Address::parse(text).unwrap();
    let commands = vec![
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 },
        DirectoryCommand::CreateDomain { tenant: TenantId::new(1), name: DomainName::parse("a.example").unwrap() },
        DirectoryCommand::CreateAccount {
            address: address("ann@a.example"),
            display_name: "Ann".to_owned(),
            password: None,
            quota: Quota::default(),
        },
        DirectoryCommand::CreateAlias(Alias { address: address("x@a.example"), target: address("ann@a.example") }),
        DirectoryCommand::PutList(List {
            address: address("all@a.example"),
            owner: None,
            members: vec![address("x@a.example"), address("ann+y@a.example")],
        }),
        DirectoryCommand::DeleteAccount { account: securanet_model::AccountId::new(1) },
    ];
    commands.into_iter().map(Command::Directory).collect()
}

fn shard_commands() -> Vec<Command> {
    let targets = vec![FanOutTarget { group: GroupId::new(2), to: vec![recipient(1), recipient(2)] }];
    let fan_out = FanOut { message: message(), sender: ReversePath::Null, targets };
    let key = Some(DeliveryKey { queue: GroupId::new(3), sequence: 1, settled_below: 1 });
    let refused = vec![(0, AccountRefusal::OverQuota)];
    vec![
        Command::Queue(QueueCommand::FanOut(fan_out.clone())),
        Command::Queue(QueueCommand::FanOut(fan_out)),
        Command::Deliver(Deliver { key, message: message(), to: vec![recipient(1)], quota: QuotaRule::Admitted }),
        Command::Queue(QueueCommand::Settle { target: GroupId::new(2), sequence: 1, refused }),
        Command::Queue(QueueCommand::Settle { target: GroupId::new(2), sequence: 2, refused: Vec::new() }),
    ]
}

fn outbound_commands() -> Vec<Command> {
    let to = |text: &str| OutboundRecipient {
        address: RecipientAddress::parse(text).unwrap(),
        destination: text.split_once('@').unwrap().1.to_owned(),
        notify: Notify::Default,
        original: None,
    };
    let outbound = Outbound {
        message: message(),
        sender: ReversePath::Address(Address::parse("ann@a.example").unwrap()),
        recipients: ["x@b.example", "y@b.example", "x@c.example", "x@d.example"].map(to).into(),
        options: EnvelopeOptions::default(),
        origin: Origin::Report,
        message_id: Some("<1@a.example>".to_owned()),
        trace_id: "trace".to_owned(),
        hold_until: None,
        repeat_key: None,
    };
    let acceptance = Acceptance { fan_out: Vec::new(), outbound: vec![outbound] };
    let place = |position| Place { item: 1, position };
    let settle = |position, outcome| {
        let tried = Attempt {
            at: UnixMillis::new(0),
            took_millis: 1,
            outcome,
            status: (4, 0, 0),
            host: None,
            tls: None,
            answer: "later".to_owned(),
            answer_is_remote: false,
        };
        let schedule = Schedule::default();
        OutboundCommand::Settle(vec![Settlement { place: place(position), attempt: 1, tried, schedule }])
    };
    let commands = vec![
        OutboundCommand::Accept(Box::new(acceptance)),
        OutboundCommand::Lease { worker: WorkerId([1; 16]), epoch: None },
        OutboundCommand::Take { epoch: 1, places: (0..4).map(place).collect() },
        OutboundCommand::Intend { epoch: 1, places: vec![(place(0), 1)] },
        settle(1, Outcome::TemporaryConnection),
        settle(2, Outcome::Permanent),
        OutboundCommand::Operate { places: vec![place(3)], action: Action::Hold },
        OutboundCommand::Destination { destination: "b.example".to_owned(), alive: true },
        OutboundCommand::Report { item: 1, notice: Notice::Failure, positions: vec![2], message: None },
        settle(0, Outcome::Delivered { notifies: false }),
    ];
    commands.into_iter().map(Command::Outbound).collect()
}

#[test]
fn damaged_proposals_never_panic() {
    let mut noise = Noise(0x5eed);
    for (group, commands) in [(0, directory_commands()), (1, shard_commands()), (1, outbound_commands())] {
        let request = Execute {
            group: GroupId::new(group),
            request: securanet_model::RequestId::new([1; 16]),
            deadline: UnixMillis::new(30_000),
            commands,
        };
        let record = record::encode(&Proposal { stamp: UnixMillis::new(1), requests: vec![request] });
        fuzz_proposal(&record);
        for _ in 0..3000 {
            fuzz_proposal(&noise.mutate(&record));
        }
    }
}

#[test]
fn a_damaged_state_never_panics() {
    let mut noise = Noise(0xbad);
    for (number, commands) in [(0, directory_commands()), (1, shard_commands()), (1, outbound_commands())] {
        let mut group = Group::new(number);
        // All but the last, which then meets the damage.
        for command in &commands[..commands.len() - 1] {
            group.run(command.clone());
        }
        let last = group.request(vec![commands[commands.len() - 1].clone()]);
        let proposal = Proposal { stamp: group.clock, requests: vec![last] };
        let rows = group.store.scan(&group.space.range(), Direction::Forward, usize::MAX).unwrap();
        for _ in 0..1500 {
            let mut damaged = rows.clone();
            let at = noise.below(damaged.len());
            if noise.below(4) == 0 {
                damaged[at].0 = noise.mutate(&damaged[at].0);
            } else {
                damaged[at].1 = noise.mutate(&damaged[at].1);
            }
            fuzz_state(group.space, damaged, &proposal);
        }
    }
}
