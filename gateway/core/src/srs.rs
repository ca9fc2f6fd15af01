//! The Sender Rewriting Scheme: the envelope's sender of mail that is sent on for somebody outside.
//!
//! What we send on leaves from our hosts, which the sender's SPF record does not name; so the envelope's sender becomes
//! an address of the domain that sends it on. A bounce to that address must find the way back, and nobody else may use
//! it to send through us. So it says who the sender was, and that we said so:
//!
//! ```text
//! ann@remote.example              SRS0=hhhhh=tt=remote.example=ann@ours.example
//! SRS0=xyz=ab=a.example=ann@b.example   SRS1=hhhhh=b.example==xyz=ab=a.example=ann@ours.example
//! SRS1=xyz=b.example==...@c.example     SRS1=hhhhh=b.example==...@ours.example
//! ```
//!
//! `hhhhh` is a keyed hash of all behind it, `tt` the day (modulo 1,024) in which it was made, both in base 32. All is
//! compared without case, since servers on the way back may change it. An SRS0 address is good for 21 days, longer than
//! any server tries; an SRS1 address says only that we sent on what its first forwarder had rewritten, which checks its
//! own day.
//!
//! A local part has 64 octets at most (RFC 5321 4.5.3.1.1): servers refuse longer ones, and mail that is refused for
//! its sender is lost for its recipient. A sender for whom that is too short (machines that write the recipient into
//! theirs) is replaced by the postmaster of the domain that sends on: an address that takes mail by rule
//! (RFC 5321 4.5.1), belongs to who can do something about a forwarding that fails, and never leads back to where the
//! mail could not go. So is a sender at a host without a name.
//!
//! Pure but for a counter of senders that were replaced: the key and the time are arguments.

use securanet_model::{Address, DomainName, ReversePath, UnixMillis, directory::Onward};

use crate::metric;

/// Names the key of the hash; what it makes is good for 21 days.
const KEY_CONTEXT: &str = "securanet-mail 1 sender rewriting";
/// RFC 5321 4.5.3.1.1.
const LOCAL_OCTETS_MAX: usize = 64;
/// 25 bits: some sixteen million tries to forge one, each a RCPT of which a session has few.
const HASH_DIGITS: usize = 5;
const DAY_DIGITS: usize = 2;
/// Days of which `tt` tells one from another.
const DAYS: u64 = 1024;
/// Longer than the four to five days for which servers try, and as long again for slow bounces.
const VALID_DAYS: u64 = 21;
const DAY_MILLIS: u64 = 24 * 3600 * 1000;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const POSTMASTER: &str = "postmaster";

/// Why an address leads to no sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SrsError {
    /// It does not have the form.
    #[error("it is no rewritten sender")]
    Form,
    /// We never made it.
    #[error("it was not made here")]
    Forged,
    /// It was made too long ago.
    #[error("it is too old")]
    Expired,
}

/// Rewrites senders and finds them again. No `Debug`: it holds a key.
#[derive(Clone)]
pub struct Srs {
    key: [u8; 32],
}

impl Srs {
    /// With a key made from the cluster's secret: the same on each gateway.
    #[must_use]
    pub fn new(login_key: &[u8; 32]) -> Self {
        Self { key: blake3::derive_key(KEY_CONTEXT, login_key) }
    }

    /// The envelope's sender of mail that a domain of ours sends on. The null one stays, so that a bounce never makes
    /// another.
    #[must_use]
    pub fn rewrite(&self, sender: &ReversePath, by: &DomainName, now: UnixMillis) -> ReversePath {
        match sender {
            ReversePath::Null => ReversePath::Null,
            ReversePath::Address(sender) => {
                self.address(sender, by, now).map_or_else(|| replaced(by), ReversePath::Address)
            }
            ReversePath::Literal(_) => replaced(by),
        }
    }

    /// The envelope's sender of mail for an address of ours as it is sent on: the list's owner, where a list with one led
    /// there (RFC 5321 3.9.2); the same one where that is of a domain of ours; else a rewritten one.
    #[must_use]
    pub fn sent_on(&self, onward: &Onward, sender: &ReversePath, is_ours: bool, now: UnixMillis) -> ReversePath {
        match (&onward.list_owner, sender) {
            (_, ReversePath::Null) => ReversePath::Null,
            (Some(owner), _) => ReversePath::Address(owner.clone()),
            (None, sender) if is_ours => sender.clone(),
            (None, sender) => self.rewrite(sender, onward.by.domain(), now),
        }
    }

    /// The sender as an address of a domain of ours; none where it would be too long.
    #[must_use]
    pub fn address(&self, sender: &Address, by: &DomainName, now: UnixMillis) -> Option<Address> {
        let local = match Form::of(sender.local()) {
            Some(Form::First(rest)) => self.second(sender.domain().as_str(), rest),
            Some(Form::Second { first, rest, .. }) => self.second(first, rest),
            None => {
                let signed = format!("{}={}={}", digits(day(now), DAY_DIGITS), sender.domain(), sender.local());
                format!("SRS0={}={signed}", self.hash("0", &signed))
            }
        };
        let rewritten = Address::new(&local, by.clone()).ok()?;
        // As it is written: quotes and backslashes count.
        let written = rewritten.to_string().len() - "@".len() - by.as_str().len();
        (written <= LOCAL_OCTETS_MAX).then_some(rewritten)
    }

    fn second(&self, first: &str, rest: &str) -> String {
        let signed = format!("{first}={rest}");
        format!("SRS1={}={signed}", self.hash("1", &signed))
    }

    /// Whether an address has the form of those that we make. Nothing else can be had under such a name.
    #[must_use]
    pub fn is_rewritten(address: &Address) -> bool {
        let prefix = address.local().as_bytes().get(..5).unwrap_or_default();
        prefix.eq_ignore_ascii_case(b"SRS0=") || prefix.eq_ignore_ascii_case(b"SRS1=")
    }

    /// The sender that an address of ours was made of: whom its bounces are for. What was rewritten here, elsewhere and
    /// here again is unwrapped as far as we wrapped it.
    ///
    /// # Errors
    /// [`SrsError`]
    pub fn restore(&self, address: &Address, now: UnixMillis) -> Result<Address, SrsError> {
        let sender = self.unwrap_once(address, now)?;
        match self.unwrap_once(&sender, now) {
            Ok(first) => Ok(first),
            Err(SrsError::Expired) => Err(SrsError::Expired),
            // Another's, or no rewritten one at all.
            Err(SrsError::Form | SrsError::Forged) => Ok(sender),
        }
    }

    fn unwrap_once(&self, address: &Address, now: UnixMillis) -> Result<Address, SrsError> {
        if !Self::is_rewritten(address) {
            return Err(SrsError::Form);
        }
        match Form::of(address.local()).ok_or(SrsError::Form)? {
            Form::First(rest) => self.restore_first(rest, now),
            Form::Second { hash, first, rest } => {
                self.check(hash, "1", &format!("{first}={rest}"))?;
                let domain = DomainName::parse(first).map_err(|_| SrsError::Form)?;
                Address::new(&format!("SRS0{rest}"), domain).map_err(|_| SrsError::Form)
            }
        }
    }

    fn restore_first(&self, rest: &str, now: UnixMillis) -> Result<Address, SrsError> {
        let mut fields = rest[1..].splitn(4, '=');
        let mut next = || fields.next().ok_or(SrsError::Form);
        let (hash, made, domain, local) = (next()?, next()?, next()?, next()?);
        self.check(hash, "0", &format!("{made}={domain}={local}"))?;
        let made = number(made).ok_or(SrsError::Form)?;
        // A day ahead is another gateway's clock at midnight.
        let age = (day(now) + 1 + DAYS).checked_sub(made).ok_or(SrsError::Form)? % DAYS;
        if age > VALID_DAYS + 1 {
            return Err(SrsError::Expired);
        }
        let domain = DomainName::parse(domain).map_err(|_| SrsError::Form)?;
        Address::new(local, domain).map_err(|_| SrsError::Form)
    }

    fn check(&self, hash: &str, form: &str, signed: &str) -> Result<(), SrsError> {
        let (ours, theirs) = (self.hash(form, signed), hash.to_ascii_uppercase());
        let differs = ours.bytes().zip(theirs.bytes()).fold(0, |differs, (one, other)| differs | (one ^ other));
        if ours.len() == theirs.len() && differs == 0 { Ok(()) } else { Err(SrsError::Forged) }
    }

    fn hash(&self, form: &str, signed: &str) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(form.as_bytes()).update(signed.to_lowercase().as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        digits(u64::from_be_bytes(first), HASH_DIGITS)
    }
}

/// A local part that somebody rewrote. Others may write `+` or `-` for the first `=`.
enum Form<'a> {
    /// What follows `SRS0`, with its separator.
    First(&'a str),
    Second {
        hash: &'a str,
        /// The domain of the first forwarder.
        first: &'a str,
        /// What follows `SRS0` there, with its separator.
        rest: &'a str,
    },
}

impl<'a> Form<'a> {
    fn of(local: &'a str) -> Option<Self> {
        let (name, rest) = local.split_at_checked(4)?;
        let is_separated = |text: &str| text.starts_with(['=', '+', '-']);
        if !is_separated(rest) {
            return None;
        }
        if name.eq_ignore_ascii_case("SRS0") {
            return Some(Self::First(rest));
        }
        if !name.eq_ignore_ascii_case("SRS1") {
            return None;
        }
        let (hash, behind) = rest[1..].split_once('=')?;
        let (first, rest) = behind.split_once('=')?;
        (is_separated(rest) && DomainName::parse(first).is_ok()).then_some(Self::Second { hash, first, rest })
    }
}

/// The postmaster in a sender's place.
fn replaced(domain: &DomainName) -> ReversePath {
    metric::sender_replaced();
    Address::new(POSTMASTER, domain.clone()).map_or(ReversePath::Null, ReversePath::Address)
}

const fn day(now: UnixMillis) -> u64 {
    now.get() / DAY_MILLIS % DAYS
}

/// The lowest bits of a number, five to a digit.
fn digits(number: u64, count: usize) -> String {
    (0..count).rev().map(|at| char::from(BASE32[(number >> (5 * at)) as usize % 32])).collect()
}

fn number(text: &str) -> Option<u64> {
    if text.len() != DAY_DIGITS {
        return None;
    }
    text.bytes().try_fold(0, |number, digit| {
        let value = BASE32.iter().position(|known| known.eq_ignore_ascii_case(&digit))?;
        Some(number * 32 + value as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::new(1_790_000_000_000);

    fn srs() -> Srs {
        Srs::new(&[3; 32])
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn ours() -> DomainName {
        DomainName::parse("ours.example").unwrap()
    }

    fn rewritten(text: &str) -> Address {
        srs().address(&address(text), &ours(), NOW).unwrap()
    }

    fn days(count: u64) -> UnixMillis {
        NOW.plus_millis(count * DAY_MILLIS)
    }

    #[test]
    fn a_sender_is_found_again_in_any_case() {
        let sent = rewritten("Ann.Lee@Remote.example");
        assert!(
            sent.to_string().starts_with("SRS0=") && sent.to_string().ends_with("=remote.example=Ann.Lee@ours.example")
        );
        assert_eq!(srs().restore(&sent, NOW).unwrap().to_string(), "Ann.Lee@remote.example");
        for text in [sent.to_string().to_lowercase(), sent.to_string().to_uppercase()] {
            assert_eq!(srs().restore(&address(&text), NOW), Ok(address("ann.lee@remote.example")), "{text}");
        }
        for text in ["a=b=c@r.example", "\"a b\"@r.example", "jörg@r.example", "a+b-c@r.example"] {
            assert_eq!(srs().restore(&rewritten(text), NOW).unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses_are_the_same_in_each_release() {
        // What was sent comes back for three weeks: a release that reads it otherwise loses bounces.
        assert_eq!(rewritten("ann@remote.example").to_string(), "SRS0=RJ2ZN=HN=remote.example=ann@ours.example");
        assert_eq!(rewritten("SRS0=x=y=a.example=z@b.example").local(), "SRS1=5BBCO=b.example==x=y=a.example=z");
    }

    #[test]
    fn it_is_good_for_21_days() {
        let sent = rewritten("ann@remote.example");
        for day in 0..=21 {
            assert!(srs().restore(&sent, days(day)).is_ok(), "{day}");
        }
        for day in [22, 23, 500, 1000, 1022] {
            assert_eq!(srs().restore(&sent, days(day)), Err(SrsError::Expired), "{day}");
        }
        let tomorrow = srs().address(&address("ann@remote.example"), &ours(), days(1)).unwrap();
        assert!(srs().restore(&tomorrow, NOW).is_ok(), "a clock that is ahead");
    }

    #[test]
    fn nobody_else_makes_one() {
        let sent = rewritten("ann@remote.example").to_string();
        let with = |from: &str, to: &str| address(&sent.replacen(from, to, 1));
        assert_eq!(srs().restore(&with("ann", "bob"), NOW), Err(SrsError::Forged));
        assert_eq!(srs().restore(&with("remote", "other"), NOW), Err(SrsError::Forged));
        assert_eq!(Srs::new(&[4; 32]).restore(&address(&sent), NOW), Err(SrsError::Forged));
        let made = sent.split('=').nth(2).unwrap();
        let other = if made == "AA" { "AB" } else { "AA" };
        assert_eq!(srs().restore(&with(&format!("={made}="), &format!("={other}=")), NOW), Err(SrsError::Forged));
        for text in [
            "SRS0=@o.example",
            "SRS0=a=b=c@o.example",
            "SRS1=a@o.example",
            "SRS1=a=b.example=@o.example",
            "x@o.example",
        ] {
            assert_eq!(srs().restore(&address(text), NOW), Err(SrsError::Form), "{text}");
        }
        assert_eq!(srs().restore(&address("SRS0=AAAAA=AA=b.example=@o.example"), NOW), Err(SrsError::Forged));
        assert_eq!(srs().restore(&address("SRS1=AAAAA=b.example==x@o.example"), NOW), Err(SrsError::Forged));
    }

    #[test]
    fn what_went_from_us_through_another_and_us_again_goes_back_to_its_sender() {
        let ours_first = rewritten("ann@remote.example").to_string();
        let theirs = format!(
            "SRS1=hash=ours.example={}@c.example",
            ours_first.strip_prefix("SRS0").unwrap().split('@').next().unwrap()
        );
        let again = rewritten(&theirs);
        assert!(again.local().starts_with("SRS1="), "{again}");
        assert_eq!(srs().restore(&again, NOW), Ok(address("ann@remote.example")));
        assert_eq!(srs().restore(&again, days(30)), Err(SrsError::Expired));
    }

    #[test]
    fn what_others_rewrote_goes_back_to_the_first_of_them() {
        for separator in ['=', '+', '-'] {
            let first = format!("SRS0{separator}xyz=ab=a.example=ann@b.example");
            let sent = rewritten(&first);
            assert!(sent.local().starts_with("SRS1=") && sent.local().contains("=b.example"), "{sent}");
            assert_eq!(srs().restore(&sent, NOW), Ok(address(&first)));
            let theirs = format!("srs1{separator}hash=b.example={separator}xyz=ab=a.example=ann@c.example");
            assert_eq!(rewritten(&theirs), sent, "the one in the middle is left out");
        }
        // What only looks like one is a sender as any other.
        for text in ["srs@r.example", "SRS0@r.example", "SRS1=x@r.example", "srs0x=a@r.example"] {
            assert_eq!(srs().restore(&rewritten(text), NOW), Ok(address(text)), "{text}");
        }
    }

    #[test]
    fn rfc_5321_4_5_3_1_1_no_local_part_is_longer_than_64_octets() {
        let of = |octets: usize| ReversePath::Address(address(&format!("{}@remote.example", "a".repeat(octets))));
        let sent = |sender: &ReversePath| srs().rewrite(sender, &ours(), NOW).to_string();
        let longest = LOCAL_OCTETS_MAX - "SRS0=hhhhh=tt=remote.example=".len();
        assert!(sent(&of(longest)).starts_with("<SRS0="));
        assert_eq!(sent(&of(longest + 1)), "<postmaster@ours.example>");
        // It counts as it is written: two quotes, and a backslash before each quote inside.
        let quoted = |octets: usize| {
            let local = format!("a \"b{}", "c".repeat(octets - 4));
            ReversePath::Address(Address::new(&local, DomainName::parse("remote.example").unwrap()).unwrap())
        };
        let written = sent(&quoted(longest - 3));
        assert_eq!(written.split('@').next().unwrap().len(), "<".len() + LOCAL_OCTETS_MAX, "{written}");
        assert_eq!(sent(&quoted(longest - 2)), "<postmaster@ours.example>");
        let literal = securanet_model::LiteralAddress::new("ann", [192, 0, 2, 1].into()).unwrap();
        assert_eq!(sent(&ReversePath::Literal(literal)), "<postmaster@ours.example>");
        assert_eq!(sent(&ReversePath::Null), "<>", "a bounce makes no other");
    }
}
