//! A delivery worker: leases, takes, intends, passes the final dot, settles, with the queue's own commands.
//!
//! The remote server it speaks to stands outside of all nodes and remembers each final dot that it saw.

use std::time::Duration;

use securanet_model::{
    Answer, Command, Execute, Freshness, GroupId, Query, Reply,
    outbound::{
        Attempt, OutboundAnswer, OutboundCommand, OutboundQuery, OutboundReply, Outcome, Schedule, Settlement, Taken,
        Timer, WorkerId,
    },
};
use securanet_raft::Groups;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    ledger::Dot,
    support::{now, request_id},
    world::World,
};

const ROUND: Duration = Duration::from_millis(250);
const TRY: Duration = Duration::from_millis(1500);
/// A lease counts for so long from the moment before it was asked for: a second less than it is given for.
const LEASE: Duration = Duration::from_millis(5000);
const RENEWED_AFTER: Duration = Duration::from_millis(2000);

struct Worker {
    world: World,
    groups: Groups,
    group: u32,
    id: u64,
    requests: u64,
    lease: Option<(u64, Instant)>,
}

/// Works for one queue group, as long as the node lives.
pub(crate) async fn run(world: World, groups: Groups, group: u32) {
    let id = {
        let mut workers = world.workers.lock().unwrap();
        *workers += 1;
        *workers
    };
    let mut worker = Worker { world, groups, group, id, requests: 0, lease: None };
    loop {
        sleep(ROUND).await;
        worker.round().await;
    }
}

impl Worker {
    async fn run(&mut self, command: OutboundCommand) -> Option<OutboundReply> {
        self.requests += 1;
        let request = Execute {
            group: GroupId::new(self.group),
            request: request_id((self.id << 32) + self.requests),
            deadline: now().plus_millis(4000),
            commands: vec![Command::Outbound(command)],
        };
        match timeout(TRY, self.groups.execute(request)).await {
            Ok(Ok((replies, _))) => match replies.into_iter().next() {
                Some(Reply::Outbound(reply)) => Some(reply),
                Some(Reply::Unknown) | None => None,
                Some(other) => {
                    self.world.break_promise(format!("the queue answers {other:?}"));
                    None
                }
            },
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn ask(&self, query: OutboundQuery) -> Option<OutboundAnswer> {
        let group = GroupId::new(self.group);
        match timeout(TRY, self.groups.query(group, Query::Outbound(query), Freshness::Now)).await {
            Ok(Ok((Answer::Outbound(answer), _))) => Some(answer),
            _ => None,
        }
    }

    /// The lease, renewed when it is time; none when nobody gives one.
    async fn leased(&mut self) -> Option<u64> {
        if let Some((epoch, since)) = self.lease
            && since.elapsed() < RENEWED_AFTER
        {
            return Some(epoch);
        }
        let asked = Instant::now();
        let epoch = self.lease.map(|(epoch, _)| epoch);
        match self.run(OutboundCommand::Lease { worker: WorkerId(request_id(self.id).bytes().to_owned()), epoch }).await
        {
            Some(OutboundReply::Leased { epoch, .. }) => self.lease = Some((epoch, asked)),
            Some(OutboundReply::LeaseEnded) => {
                self.world.trace.count("lease ended", 1);
                self.lease = None;
            }
            _ => {}
        }
        self.living()
    }

    fn living(&self) -> Option<u64> {
        self.lease.filter(|(_, since)| since.elapsed() < LEASE).map(|(epoch, _)| epoch)
    }

    async fn round(&mut self) {
        let Some(epoch) = self.leased().await else { return };
        if let Some(OutboundAnswer::Timers(timers)) =
            self.ask(OutboundQuery::Timers { now: now(), rows_max: 100 }).await
        {
            for timer in timers {
                if let Timer::Lease { epoch } = timer {
                    self.run(OutboundCommand::TakeOver { epoch }).await;
                    self.world.trace.count("lease taken over", 1);
                }
            }
        }
        let due = OutboundQuery::Due { now: now(), after: None, destinations_max: 10, rows_max: 4 };
        let Some(OutboundAnswer::Due(destinations, _)) = self.ask(due).await else { return };
        let places: Vec<_> = destinations.into_iter().flat_map(|due| due.places).take(2).collect();
        if places.is_empty() {
            return;
        }
        let Some(OutboundReply::Taken(taken)) = self.run(OutboundCommand::Take { epoch, places }).await else { return };
        for taken in taken.into_iter().flatten() {
            self.attempt(epoch, taken).await;
        }
    }

    async fn attempt(&mut self, epoch: u64, taken: Taken) {
        let begun = Instant::now();
        sleep(Duration::from_millis(self.world.below(200))).await;
        let places = vec![(taken.place, taken.attempt)];
        let Some(OutboundReply::Intended(may)) = self.run(OutboundCommand::Intend { epoch, places }).await else {
            return;
        };
        if may != [true] {
            self.world.trace.count("lease fenced", 1);
            return;
        }
        // On its own clock it may have lost the lease while it waited for that answer.
        if self.living() != Some(epoch) {
            return;
        }
        let accepted = !self.world.fails(6);
        let recipient = taken.recipient.address.canonical();
        let number = recipient.strip_prefix('n').and_then(|text| text.split('@').next()?.parse().ok());
        let Some(number) = number else { return self.world.break_promise(format!("a strange recipient: {recipient}")) };
        let dot = Dot { worker: self.id, attempt: taken.attempt, accepted };
        tracing::info!(target: "simulation", group = self.group, number, ?dot, "the final dot");
        self.world.ledger.lock().unwrap().dots.entry((self.group, number)).or_default().push(dot);
        sleep(Duration::from_millis(self.world.below(150))).await;
        let outcome = match accepted {
            true if self.world.fails(8) => Outcome::Uncertain,
            true => Outcome::Delivered { notifies: false },
            false => Outcome::TemporaryAnswer,
        };
        let settlement = Settlement {
            place: taken.place,
            attempt: taken.attempt,
            tried: Attempt {
                at: now(),
                took_millis: begun.elapsed().as_millis() as u32,
                outcome,
                status: (2, 0, 0),
                host: None,
                tls: None,
                answer: String::new(),
                answer_is_remote: true,
            },
            schedule: Schedule { retry_after: vec![1; 30], no_such_domain_retry_after: vec![1], warn_after: 0 },
        };
        // A fact is told until it is heard, lease or not.
        while self.run(OutboundCommand::Settle(vec![settlement.clone()])).await.is_none() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}
