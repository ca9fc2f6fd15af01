//! People at IMAP: one who changes an account's mailboxes, or one who only looks, in session after session at whatever gateway
//! there is. Each keeps copies of the mailboxes over all sessions, as a client's disk does.

use std::{collections::BTreeMap, net::SocketAddr, sync::atomic::Ordering, thread::sleep, time::Duration};

use anyhow::anyhow;

use super::{
    ledger::Fate,
    load::{World, message},
    mailbox::{ARCHIVE, Account, FLAGS, INBOX, MAILBOXES, NOWHERE},
    resync::{Cache, Lives, Trouble, broken},
};
use crate::{dialogue::Dialogue, imap::code, random::Random};

/// For an answer; a server that cannot commit says so later than that.
const PATIENCE: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(100);

/// What somebody knows of an account's mailboxes.
pub struct Copies {
    /// The account's local part.
    pub local: String,
    /// Its mailboxes.
    pub caches: BTreeMap<&'static str, Cache>,
}

/// Somebody with an account.
pub struct Person<'w> {
    world: &'w World<'w>,
    account: &'w Account,
    random: Random,
    changes: bool,
    copies: Copies,
}

impl<'w> Person<'w> {
    /// Somebody who `changes` the account, or only looks.
    #[must_use]
    pub fn new(world: &'w World<'w>, account: &'w Account, random: Random, changes: bool) -> Self {
        let caches = MAILBOXES.map(|mailbox| (mailbox, Cache::new(mailbox))).into();
        Self { world, account, random, changes, copies: Copies { local: account.local.clone(), caches } }
    }

    /// Has sessions until the load ends, or a promise is broken.
    #[must_use]
    pub fn live(mut self) -> Copies {
        while !self.world.is_over() {
            let Some((node, to)) = self.world.some_gateway(&mut self.random, "imap") else {
                sleep(PAUSE);
                continue;
            };
            match self.session(to) {
                Ok(()) => {}
                Err(Trouble::Gone(error)) if format!("{error:#}").contains("\"BAD") => {
                    self.world.report(format!("{node} does not understand a command: {error:#}"));
                    break;
                }
                Err(Trouble::Gone(_)) => {
                    self.world.interrupted.fetch_add(1, Ordering::SeqCst);
                    sleep(PAUSE);
                }
                Err(Trouble::Broken(why)) => {
                    self.world.report(format!("at {node}: {why}"));
                    break;
                }
            }
        }
        self.copies
    }

    fn session(&mut self, to: SocketAddr) -> Lives<()> {
        let mut imap = Dialogue::imap_within(to, &self.account.local, PATIENCE)?;
        self.world.sessions.fetch_add(1, Ordering::SeqCst);
        imap.imap_ok("ENABLE QRESYNC")?;
        let mailbox = if self.random.below(3) == 0 { ARCHIVE } else { INBOX };
        self.open(&mut imap, mailbox)?;
        for _ in 0..=self.random.below(20) {
            if self.world.is_over() {
                break;
            }
            if self.changes {
                self.act(&mut imap, mailbox)?;
            } else {
                self.hear(mailbox, &imap.imap_ok("NOOP")?)?;
            }
            self.world.commands.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(self.random.below(60) as u64));
        }
        imap.imap_ok("LOGOUT")?;
        Ok(())
    }

    /// Opens a mailbox: it must show at least what everybody was told before.
    fn open(&mut self, imap: &mut Dialogue, mailbox: &'static str) -> Lives<()> {
        let floor = self.account.floor(mailbox);
        let (before, kept) = (self.account.snapshot(), self.world.sent.kept_by(&self.account.local));
        let cache = self.copies.caches.get_mut(mailbox).expect("a mailbox");
        cache.open(imap, if self.changes { "SELECT" } else { "EXAMINE" })?;
        self.account.opened(mailbox, floor, cache)?;
        let view = cache.view()?;
        self.account.compare(mailbox, &before, &kept, &view)?;
        if let Some(id) = view.keys().find(|id| !self.world.sent.knows(id) && !self.world.appended.knows(id)) {
            return broken(format!("{id} is in {mailbox} of {} and was never sent", self.account.local));
        }
        if self.changes && mailbox == INBOX {
            self.account.arrived(view.into_keys());
        }
        Ok(())
    }

    fn hear(&mut self, mailbox: &'static str, lines: &[String]) -> Lives<()> {
        self.copies.caches.get_mut(mailbox).expect("a mailbox").hear(lines)
    }

    /// One command, or two.
    fn act(&mut self, imap: &mut Dialogue, mailbox: &'static str) -> Lives<()> {
        let cache = &self.copies.caches[mailbox];
        let mut sure = self.account.sure(mailbox);
        sure.retain(|id| cache.uid_of(id).is_some());
        if sure.is_empty() {
            return self.append(imap, mailbox);
        }
        let id = sure.swap_remove(self.random.below(sure.len()));
        let uid = cache.uid_of(&id).expect("it has one");
        match self.random.below(10) {
            0 | 1 => self.append(imap, mailbox),
            2..=5 => self.flag(imap, mailbox, &id, uid),
            6 | 7 => self.move_away(imap, mailbox, &id, uid),
            8 => self.expunge(imap, mailbox, &id, uid),
            _ => self.read(imap, mailbox, &id, uid),
        }
    }

    fn append(&mut self, imap: &mut Dialogue, mailbox: &'static str) -> Lives<()> {
        let id = self.world.appended.attempt(std::slice::from_ref(&self.account.local), "imap");
        let last = self.copies.caches[mailbox].ids().last().map_or(0, |(uid, _)| uid);
        let (_, next) = self.account.floor(mailbox);
        self.account.begin(&id);
        let text = message(&id);
        let said = imap.imap_say(&format!("APPEND {mailbox} {{{}+}}\r\n{text}", text.len()));
        let fate = match &said {
            Ok((_, tagged)) if tagged.starts_with("OK") => Fate::Acknowledged,
            Ok(_) => Fate::Refused,
            Err(_) => Fate::Unknown,
        };
        self.world.appended.end(&id, fate);
        self.account.moved(&id, mailbox, fate == Fate::Acknowledged);
        let (untagged, tagged) = said?;
        self.hear(mailbox, &untagged)?;
        must_be_ok("APPEND", &tagged)?;
        let uid = code(&tagged, "APPENDUID").and_then(|words| words.get(1)?.parse::<u32>().ok());
        let Some(uid) = uid else { return broken(format!("no APPENDUID in {tagged:?}")) };
        if uid <= last || u64::from(uid) < next {
            return broken(format!("P3: {id} got UID {uid} of {mailbox} after {last} and UIDNEXT {next} were seen"));
        }
        self.account.names(mailbox, uid, &id)
    }

    fn flag(&mut self, imap: &mut Dialogue, mailbox: &'static str, id: &str, uid: u32) -> Lives<()> {
        let (flag, to) = (FLAGS[self.random.below(FLAGS.len())], self.random.below(3) > 0);
        self.account.begin(id);
        let said = imap.imap_say(&format!("UID STORE {uid} {}FLAGS ({flag})", if to { '+' } else { '-' }));
        self.account.flagged(id, flag, to, is_ok(&said));
        let (untagged, tagged) = said?;
        self.hear(mailbox, &untagged)?;
        must_be_ok("STORE", &tagged)
    }

    fn move_away(&mut self, imap: &mut Dialogue, mailbox: &'static str, id: &str, uid: u32) -> Lives<()> {
        let other = if mailbox == INBOX { ARCHIVE } else { INBOX };
        let (_, next) = self.account.floor(other);
        self.account.begin(id);
        let said = imap.imap_say(&format!("UID MOVE {uid} {other}"));
        self.account.moved(id, other, is_ok(&said));
        let (untagged, tagged) = said?;
        self.hear(mailbox, &untagged)?;
        must_be_ok("MOVE", &tagged)?;
        let copied = untagged.iter().chain([&tagged]).find_map(|line| code(line, "COPYUID"));
        match copied.and_then(|words| words.get(2)?.parse::<u32>().ok()) {
            Some(new) if u64::from(new) < next => {
                broken(format!("P3: {id} got UID {new} of {other} after UIDNEXT {next} was seen"))
            }
            Some(new) => self.account.names(other, new, id),
            None => broken(format!("P1: {id}, UID {uid} of {mailbox}, was not moved: {untagged:?} {tagged:?}")),
        }
    }

    fn expunge(&mut self, imap: &mut Dialogue, mailbox: &'static str, id: &str, uid: u32) -> Lives<()> {
        let (_, tagged) = imap.imap_say(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"))?;
        must_be_ok("STORE", &tagged)?;
        self.account.begin(id);
        let said = imap.imap_say(&format!("UID EXPUNGE {uid}"));
        self.account.moved(id, NOWHERE, is_ok(&said));
        let (untagged, tagged) = said?;
        self.hear(mailbox, &untagged)?;
        must_be_ok("EXPUNGE", &tagged)
    }

    fn read(&mut self, imap: &mut Dialogue, mailbox: &'static str, id: &str, uid: u32) -> Lives<()> {
        let (untagged, tagged) = imap.imap_say(&format!("UID FETCH {uid} (BODY.PEEK[TEXT])"))?;
        self.hear(mailbox, &untagged)?;
        must_be_ok("FETCH", &tagged)?;
        let whole = message(id);
        let body = whole.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if untagged.iter().any(|line| line.contains(body)) {
            return Ok(());
        }
        let lines: Vec<String> = untagged.iter().map(|line| line.chars().take(200).collect()).collect();
        broken(format!("P1: {id}, UID {uid} of {mailbox}, is not what was sent: {lines:?}"))
    }
}

fn is_ok(said: &anyhow::Result<(Vec<String>, String)>) -> bool {
    matches!(said, Ok((_, tagged)) if tagged.starts_with("OK"))
}

/// A NO ends the session; nothing else may come.
fn must_be_ok(command: &str, tagged: &str) -> Lives<()> {
    match tagged.split(' ').next() {
        Some("OK") => Ok(()),
        Some("NO") => Err(Trouble::Gone(anyhow!("{command}: {tagged}"))),
        _ => broken(format!("{command} was answered {tagged:?}")),
    }
}
