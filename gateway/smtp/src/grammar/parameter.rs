//! MAIL and RCPT with their parameters.
//!
//! ```text
//! Mail-parameters = esmtp-param *( SP esmtp-param )      RFC 5321 4.1.2
//! esmtp-param     = esmtp-keyword [ "=" esmtp-value ]
//! ```
//!
//! SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531); RET, ENVID, NOTIFY and ORCPT (RFC 3461) are understood
//! and kept although DSN is not announced yet. BODY=BINARYMIME is not: binary parts could not be handed on.

use securanet_gateway::model::ReversePath;

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

/// RFC 3461 4.3: what a bounce carries of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

/// RFC 3461 4.1: when the sender wants to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notify {
    /// When it was delivered.
    pub success: bool,
    /// When it could not be.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
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
}

/// `RCPT TO:`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RcptTo {
    /// Who gets the message.
    pub recipient: ForwardPath,
    /// Whether the path had octets above 127: only in a transaction with SMTPUTF8.
    pub has_utf8: bool,
    /// NOTIFY; `Some` of nothing is NEVER.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub original: Option<OriginalRecipient>,
}

/// Parses what follows `MAIL`.
pub(super) fn mail_from(argument: &str) -> Result<MailFrom, CommandError> {
    let usage = CommandError::Arguments("MAIL FROM:<address> [parameters]");
    let text = after_keyword(argument, "FROM:").ok_or(usage)?;
    let (sender, rest) = path::reverse(text).map_err(CommandError::Sender)?;
    let path_has_utf8 = !text[..text.len() - rest.len()].is_ascii();
    let mut mail =
        MailFrom { sender, size_octets: None, body: Body::SevenBit, utf8: false, ret: None, envelope_id: None };
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
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    if path_has_utf8 && !mail.utf8 { Err(CommandError::NeedsUtf8) } else { Ok(mail) }
}

/// Parses what follows `RCPT`.
pub(super) fn rcpt_to(argument: &str) -> Result<RcptTo, CommandError> {
    let usage = CommandError::Arguments("RCPT TO:<address> [parameters]");
    let text = after_keyword(argument, "TO:").ok_or(usage)?;
    let (recipient, rest) = path::forward(text).map_err(CommandError::Recipient)?;
    let mut rcpt = RcptTo { recipient, has_utf8: !argument.is_ascii(), notify: None, original: None };
    let mut seen = Seen::default();
    for (keyword, value) in parameters(rest).ok_or(usage)? {
        match keyword {
            k if k.eq_ignore_ascii_case("NOTIFY") => {
                seen.first("NOTIFY")?;
                rcpt.notify = Some(notify(value)?);
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

/// Parameters met so far; there are five at most, so a list is the fastest set.
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
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        let wish = match word {
            w if w.eq_ignore_ascii_case("SUCCESS") => &mut notify.success,
            w if w.eq_ignore_ascii_case("FAILURE") => &mut notify.failure,
            w if w.eq_ignore_ascii_case("DELAY") => &mut notify.delay,
            _ => return Err(bad),
        };
        *wish = true;
    }
    Ok(notify)
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
mod tests {
    use super::*;

    fn mail(argument: &str) -> Result<MailFrom, CommandError> {
        mail_from(argument)
    }

    fn rcpt(argument: &str) -> Result<RcptTo, CommandError> {
        rcpt_to(argument)
    }

    #[test]
    fn rfc_1870_size() {
        assert_eq!(mail("FROM:<a@b.c> SIZE=1000").unwrap().size_octets, Some(1000));
        assert_eq!(mail("FROM:<a@b.c> size=0").unwrap().size_octets, None);
        assert_eq!(mail("FROM:<a@b.c> SIZE=99999999999999999999").unwrap().size_octets, Some(u64::MAX));
        for bad in ["SIZE", "SIZE=", "SIZE=-1", "SIZE=1k", "SIZE=999999999999999999999", "SIZE=1 SIZE=1"] {
            assert_eq!(mail(&format!("FROM:<> {bad}")), Err(CommandError::Parameter("SIZE")), "{bad}");
        }
    }

    #[test]
    fn rfc_6152_and_3030_body() {
        assert_eq!(mail("FROM:<> BODY=8bitMIME").unwrap().body, Body::EightBitMime);
        assert_eq!(mail("FROM:<> BODY=7BIT").unwrap().body, Body::SevenBit);
        assert_eq!(mail("FROM:<> BODY=BINARYMIME"), Err(CommandError::Parameter("BODY")));
    }

    #[test]
    fn rfc_6531_utf8_needs_its_parameter() {
        assert!(mail("FROM:<jürgen@example.org> SMTPUTF8").unwrap().utf8);
        assert_eq!(mail("FROM:<jürgen@example.org>"), Err(CommandError::NeedsUtf8));
        assert_eq!(mail("FROM:<ann@bücher.example>"), Err(CommandError::NeedsUtf8));
        assert_eq!(mail("FROM:<> SMTPUTF8=1"), Err(CommandError::Parameter("SMTPUTF8")));
        assert!(rcpt("TO:<ann@bücher.example>").unwrap().has_utf8);
        assert!(!rcpt("TO:<ann@xn--bcher-kva.example>").unwrap().has_utf8);
    }

    #[test]
    fn rfc_3461_dsn_parameters_are_kept() {
        let mail = mail("FROM:<a@b.c> RET=HDRS ENVID=QQ314159+2B").unwrap();
        assert_eq!((mail.ret, mail.envelope_id.as_deref()), (Some(Return::Headers), Some("QQ314159+2B")));
        let rcpt = rcpt("TO:<a@b.c> NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+2Btag@Example.org").unwrap();
        assert_eq!(rcpt.notify, Some(Notify { success: true, failure: false, delay: true }));
        let original = rcpt.original.unwrap();
        assert_eq!((original.address_type.as_str(), original.address.as_str()), ("rfc822", "Bob+2Btag@Example.org"));
        assert_eq!(rcpt_to("TO:<a@b.c> NOTIFY=NEVER").unwrap().notify, Some(Notify::default()));
    }

    #[test]
    fn rfc_3461_bad_dsn_parameters_are_refused() {
        for bad in ["RET=SOME", "RET", "ENVID=a+2", "ENVID=a+2g"] {
            let keyword = if bad.starts_with("RET") { "RET" } else { "ENVID" };
            assert_eq!(mail(&format!("FROM:<> {bad}")), Err(CommandError::Parameter(keyword)), "{bad}");
        }
        for bad in ["NOTIFY=NEVER,DELAY", "NOTIFY=", "NOTIFY"] {
            assert_eq!(rcpt(&format!("TO:<a@b.c> {bad}")), Err(CommandError::Parameter("NOTIFY")), "{bad}");
        }
        for bad in ["ORCPT=rfc822", "ORCPT=;a", "ORCPT=rfc822;", "ORCPT=rfc822;jürgen"] {
            assert_eq!(rcpt(&format!("TO:<a@b.c> {bad}")), Err(CommandError::Parameter("ORCPT")), "{bad}");
        }
    }

    #[test]
    fn rfc_5321_4_1_1_11_what_was_not_announced_is_refused() {
        assert_eq!(mail("FROM:<> AUTH=<>"), Err(CommandError::UnknownParameter));
        assert_eq!(mail("FROM:<> NOTIFY=NEVER"), Err(CommandError::UnknownParameter));
        assert_eq!(rcpt("TO:<a@b.c> SIZE=1"), Err(CommandError::UnknownParameter));
    }

    #[test]
    fn what_follows_a_path_is_a_space() {
        assert!(matches!(mail("FROM:<a@b.c>SIZE=1"), Err(CommandError::Arguments(_))));
        assert!(matches!(rcpt("FROM:<a@b.c>"), Err(CommandError::Arguments(_))));
        assert!(mail("from: <a@b.c>  SIZE=1 ").is_ok());
    }
}
