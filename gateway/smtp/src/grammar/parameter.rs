//! MAIL and RCPT with their parameters.
//!
//! ```text
//! Mail-parameters = esmtp-param *( SP esmtp-param )      RFC 5321 4.1.2
//! esmtp-param     = esmtp-keyword [ "=" esmtp-value ]
//! ```
//!
//! SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531); RET, ENVID, NOTIFY and ORCPT (RFC 3461); and what only
//! submission takes ([`MailFrom::for_submission`]): HOLDFOR and HOLDUNTIL (RFC 4865), BY (RFC 2852), REQUIRETLS
//! (RFC 8689), AUTH (RFC 4954). BODY=BINARYMIME is not understood: binary parts could not be handed on.

use securanet_gateway::model::{
    ReversePath, UnixMillis,
    outbound::{Notify, Return},
};

use super::{
    error::CommandError,
    path::{self, ForwardPath},
};

/// RFC 6152 and RFC 3030: what the client says of the message's octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Body {
    /// `7BIT`, or nothing was said.
    #[default]
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

/// RFC 4865 4: not before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// HOLDFOR, in seconds from now.
    For(u32),
    /// HOLDUNTIL.
    Until(UnixMillis),
}

/// RFC 2852 4: until when, in seconds from now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct By {
    /// Negative: that time is over already, which only N allows.
    pub seconds: i32,
    /// R: return it then; otherwise N: tell of the delay and go on.
    pub or_return: bool,
    /// T: each relay reports.
    pub trace: bool,
}

/// RFC 3461 4.2: the address that the message was first sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginalRecipient {
    /// `rfc822` or `utf-8`, in lower case.
    pub address_type: String,
    /// The address, as xtext: still encoded.
    pub address: String,
}

/// `MAIL FROM:`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailFrom {
    /// Who gets the bounces.
    pub sender: ReversePath,
    /// SIZE in octets; `None` when nothing was said or 0.
    pub size_octets: Option<u64>,
    /// BODY.
    pub body: Body,
    /// SMTPUTF8.
    pub utf8: bool,
    /// RET.
    pub ret: Option<Return>,
    /// ENVID, as xtext: still encoded; at most 100 octets.
    pub envelope_id: Option<String>,
    /// HOLDFOR or HOLDUNTIL.
    pub hold: Option<Hold>,
    /// BY.
    pub by: Option<By>,
    /// REQUIRETLS.
    pub require_tls: bool,
    /// AUTH was given. What it says of the author is of no use to us: only our own logins are trusted.
    pub authenticated: bool,
}

impl MailFrom {
    /// A sender without parameters.
    #[must_use]
    pub const fn new(sender: ReversePath) -> Self {
        Self {
            sender,
            size_octets: None,
            body: Body::SevenBit,
            utf8: false,
            ret: None,
            envelope_id: None,
            hold: None,
            by: None,
            require_tls: false,
            authenticated: false,
        }
    }

    /// Whether it has a parameter that is announced where mail is submitted and nowhere else.
    #[must_use]
    pub const fn for_submission(&self) -> bool {
        self.hold.is_some() || self.by.is_some() || self.require_tls || self.authenticated
    }
}

/// `RCPT TO:`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RcptTo {
    /// Who gets the message.
    pub recipient: ForwardPath,
    /// Whether the path had octets above 127: only in a transaction with SMTPUTF8.
    pub has_utf8: bool,
    /// NOTIFY.
    pub notify: Notify,
    /// ORCPT.
    pub original: Option<OriginalRecipient>,
}

/// Parses what follows `MAIL`.
pub(super) fn mail_from(argument: &str) -> Result<MailFrom, CommandError> {
    let usage = CommandError::Arguments("MAIL FROM:<address> [parameters]");
    let text = after_keyword(argument, "FROM:").ok_or(usage)?;
    let (sender, rest) = path::reverse(text).map_err(CommandError::Sender)?;
    let path_has_utf8 = !text[..text.len() - rest.len()].is_ascii();
    let mut mail = MailFrom::new(sender);
    let mut seen = Seen::default();
    for (keyword, value) in parameters(rest).ok_or(usage)? {
        match keyword {
            k if k.eq_ignore_ascii_case("SIZE") => {
                seen.first("SIZE")?;
                mail.size_octets = Some(size(value)?).filter(|&octets| octets > 0);
            }
            k if k.eq_ignore_ascii_case("BODY") => {
                seen.first("BODY")?;
                mail.body = body(value)?;
            }
            k if k.eq_ignore_ascii_case("SMTPUTF8") => {
                seen.first("SMTPUTF8")?;
                mail.utf8 = value.is_none().then_some(true).ok_or(CommandError::Parameter("SMTPUTF8"))?;
            }
            k if k.eq_ignore_ascii_case("RET") => {
                seen.first("RET")?;
                mail.ret = Some(ret(value)?);
            }
            k if k.eq_ignore_ascii_case("ENVID") => {
                seen.first("ENVID")?;
                let id = value.filter(|id| id.len() <= 100 && is_xtext(id, false));
                mail.envelope_id = Some(id.ok_or(CommandError::Parameter("ENVID"))?.to_owned());
            }
            _ if submitted(&mut mail, &mut seen, keyword, value)? => {}
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    if path_has_utf8 && !mail.utf8 { Err(CommandError::NeedsUtf8) } else { Ok(mail) }
}

/// Takes a parameter that only submission knows; `false`: it is none.
fn submitted(mail: &mut MailFrom, seen: &mut Seen, keyword: &str, value: Option<&str>) -> Result<bool, CommandError> {
    match keyword {
        k if k.eq_ignore_ascii_case("HOLDFOR") => {
            seen.first("HOLD")?;
            let seconds = value.filter(|value| is_number(value, 9)).and_then(|value| value.parse().ok());
            mail.hold = Some(Hold::For(seconds.ok_or(CommandError::Parameter("HOLDFOR"))?));
        }
        k if k.eq_ignore_ascii_case("HOLDUNTIL") => {
            seen.first("HOLD")?;
            let at = value.and_then(date_time);
            mail.hold = Some(Hold::Until(at.ok_or(CommandError::Parameter("HOLDUNTIL"))?));
        }
        k if k.eq_ignore_ascii_case("BY") => {
            seen.first("BY")?;
            mail.by = Some(value.and_then(by).ok_or(CommandError::Parameter("BY"))?);
        }
        k if k.eq_ignore_ascii_case("REQUIRETLS") => {
            seen.first("REQUIRETLS")?;
            mail.require_tls = value.is_none().then_some(true).ok_or(CommandError::Parameter("REQUIRETLS"))?;
        }
        k if k.eq_ignore_ascii_case("AUTH") => {
            seen.first("AUTH")?;
            let mailbox = value.filter(|value| !value.is_empty() && is_xtext(value, false));
            mail.authenticated = mailbox.map(|_| true).ok_or(CommandError::Parameter("AUTH"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn is_number(text: &str, digits_max: usize) -> bool {
    (1..=digits_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// RFC 3339 5.6, with whole seconds or fractions.
fn date_time(text: &str) -> Option<UnixMillis> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(UnixMillis::new)
}

/// `by-value = by-time ";" ("N" / "R") ["T"]`, `by-time = ["-" / "+"] 1*9DIGIT`. A return after a time that is over
/// makes no sense and is refused.
fn by(value: &str) -> Option<By> {
    let (time, mode) = value.split_once(';')?;
    let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
    let seconds: i32 = if is_number(digits, 9) { digits.parse().ok()? } else { return None };
    let seconds = if time.starts_with('-') { -seconds } else { seconds };
    let (or_return, trace) = match mode.to_ascii_uppercase().as_str() {
        "N" => (false, false),
        "NT" => (false, true),
        "R" => (true, false),
        "RT" => (true, true),
        _ => return None,
    };
    (seconds > 0 || !or_return).then_some(By { seconds, or_return, trace })
}

/// Parses what follows `RCPT`.
pub(super) fn rcpt_to(argument: &str) -> Result<RcptTo, CommandError> {
    let usage = CommandError::Arguments("RCPT TO:<address> [parameters]");
    let text = after_keyword(argument, "TO:").ok_or(usage)?;
    let (recipient, rest) = path::forward(text).map_err(CommandError::Recipient)?;
    let mut rcpt = RcptTo { recipient, has_utf8: !argument.is_ascii(), notify: Notify::Default, original: None };
    let mut seen = Seen::default();
    for (keyword, value) in parameters(rest).ok_or(usage)? {
        match keyword {
            k if k.eq_ignore_ascii_case("NOTIFY") => {
                seen.first("NOTIFY")?;
                rcpt.notify = notify(value)?;
            }
            k if k.eq_ignore_ascii_case("ORCPT") => {
                seen.first("ORCPT")?;
                rcpt.original = Some(original_recipient(value)?);
            }
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    Ok(rcpt)
}

/// The text after `FROM:` or `TO:`. RFC 5321 3.3 allows no space there; too many clients write one.
fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = argument.split_at_checked(keyword.len())?;
    found.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches(' '))
}

/// Splits parameters; `None` when something other than a space follows the path.
fn parameters(text: &str) -> Option<impl Iterator<Item = (&str, Option<&str>)>> {
    let parts = text.split(' ').filter(|part| !part.is_empty()).map(|part| match part.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (part, None),
    });
    (text.is_empty() || text.starts_with(' ')).then_some(parts)
}

/// Parameters met so far; there are ten at most, so a list is the fastest set.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    fn first(&mut self, keyword: &'static str) -> Result<(), CommandError> {
        if self.0.contains(&keyword) {
            return Err(CommandError::Parameter(keyword));
        }
        self.0.push(keyword);
        Ok(())
    }
}

/// RFC 1870 3: `1*20DIGIT`. What does not fit 64 bits is larger than any limit all the same.
fn size(value: Option<&str>) -> Result<u64, CommandError> {
    let digits = value.filter(|value| (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()));
    Ok(digits.ok_or(CommandError::Parameter("SIZE"))?.parse().unwrap_or(u64::MAX))
}

fn body(value: Option<&str>) -> Result<Body, CommandError> {
    match value {
        Some(v) if v.eq_ignore_ascii_case("7BIT") => Ok(Body::SevenBit),
        Some(v) if v.eq_ignore_ascii_case("8BITMIME") => Ok(Body::EightBitMime),
        _ => Err(CommandError::Parameter("BODY")),
    }
}

fn ret(value: Option<&str>) -> Result<Return, CommandError> {
    match value {
        Some(v) if v.eq_ignore_ascii_case("FULL") => Ok(Return::Full),
        Some(v) if v.eq_ignore_ascii_case("HDRS") => Ok(Return::Headers),
        _ => Err(CommandError::Parameter("RET")),
    }
}

/// `"NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" )`
fn notify(value: Option<&str>) -> Result<Notify, CommandError> {
    let bad = CommandError::Parameter("NOTIFY");
    let value = value.ok_or(bad)?;
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        let wish = match word {
            w if w.eq_ignore_ascii_case("SUCCESS") => &mut success,
            w if w.eq_ignore_ascii_case("FAILURE") => &mut failure,
            w if w.eq_ignore_ascii_case("DELAY") => &mut delay,
            _ => return Err(bad),
        };
        *wish = true;
    }
    Ok(Notify::On { success, failure, delay })
}

/// `addr-type ";" xtext`, at most 500 octets; with RFC 6533's `utf-8` type, UTF-8 may stand in it.
fn original_recipient(value: Option<&str>) -> Result<OriginalRecipient, CommandError> {
    let split = value.filter(|value| value.len() <= 500).and_then(|value| value.split_once(';'));
    let (address_type, address) = split.ok_or(CommandError::Parameter("ORCPT"))?;
    let is_atom = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let address_type = address_type.to_ascii_lowercase();
    if is_atom(&address_type) && !address.is_empty() && is_xtext(address, address_type == "utf-8") {
        Ok(OriginalRecipient { address_type, address: address.to_owned() })
    } else {
        Err(CommandError::Parameter("ORCPT"))
    }
}

/// RFC 3461 4: `*( xchar / "+" 2HEXDIG )`, HEXDIG in upper case. `=` is tolerated: real senders leave it as it is.
fn is_xtext(text: &str, utf8: bool) -> bool {
    let is_hex = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b));
    let bytes = text.as_bytes();
    let is_xchar = |(at, &byte): (usize, &u8)| match byte {
        b'+' => is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)),
        b'!'..=b'~' => true,
        _ => utf8 && byte >= 0x80,
    };
    utf8 && text.chars().all(|c| !c.is_control() && c != ' ') || bytes.iter().enumerate().all(is_xchar)
}

#[cfg(test)]
mod tests;
