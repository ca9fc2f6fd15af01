//! MAIL and RCPT with their parameters, by RFC.

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
    assert_eq!(rcpt.notify, Notify::On { success: true, failure: false, delay: true });
    let original = rcpt.original.unwrap();
    assert_eq!((original.address_type.as_str(), original.address.as_str()), ("rfc822", "Bob+2Btag@Example.org"));
    assert_eq!(rcpt_to("TO:<a@b.c> NOTIFY=NEVER").unwrap().notify, Notify::Never);
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
    assert_eq!(mail("FROM:<> MT-PRIORITY=3"), Err(CommandError::UnknownParameter));
    assert_eq!(mail("FROM:<> NOTIFY=NEVER"), Err(CommandError::UnknownParameter));
    assert_eq!(rcpt("TO:<a@b.c> SIZE=1"), Err(CommandError::UnknownParameter));
}

#[test]
fn rfc_4865_4_a_message_is_held_for_or_until() {
    assert_eq!(mail("FROM:<> HOLDFOR=86400").unwrap().hold, Some(Hold::For(86_400)));
    let until = mail("FROM:<> holduntil=2026-11-23T08:00:00Z").unwrap().hold;
    assert_eq!(until, Some(Hold::Until(UnixMillis::new(1_795_420_800_000))));
    let same = mail("FROM:<> HOLDUNTIL=2026-11-23T09:00:00+01:00").unwrap().hold;
    assert_eq!(same, until);
    for bad in ["HOLDFOR", "HOLDFOR=-1", "HOLDFOR=1234567890", "HOLDUNTIL=tomorrow", "HOLDUNTIL=1960-01-01T00:00:00Z"] {
        let keyword = if bad.starts_with("HOLDF") { "HOLDFOR" } else { "HOLDUNTIL" };
        assert_eq!(mail(&format!("FROM:<> {bad}")), Err(CommandError::Parameter(keyword)), "{bad}");
    }
    let both = mail("FROM:<> HOLDFOR=1 HOLDUNTIL=2026-11-23T08:00:00Z");
    assert_eq!(both, Err(CommandError::Parameter("HOLD")));
}

#[test]
fn rfc_2852_4_deliver_by() {
    let by = |text: &str| mail(&format!("FROM:<> BY={text}")).map(|mail| mail.by);
    assert_eq!(by("120;R"), Ok(Some(By { seconds: 120, or_return: true, trace: false })));
    assert_eq!(by("+120;rt"), Ok(Some(By { seconds: 120, or_return: true, trace: true })));
    assert_eq!(by("-10;NT"), Ok(Some(By { seconds: -10, or_return: false, trace: true })));
    for bad in ["", "120", "120;X", ";R", "0;R", "-1;R", "1234567890;R", "--1;N"] {
        assert_eq!(by(bad), Err(CommandError::Parameter("BY")), "{bad}");
    }
}

#[test]
fn rfc_8689_and_4954_5_what_submission_takes() {
    let mail = |text: &str| mail(&format!("FROM:<a@b.c> {text}"));
    assert!(mail("REQUIRETLS").unwrap().require_tls);
    assert_eq!(mail("REQUIRETLS=1"), Err(CommandError::Parameter("REQUIRETLS")));
    assert!(mail("AUTH=<>").unwrap().authenticated);
    assert!(mail("AUTH=e+3Dmc2@example.com").unwrap().for_submission());
    assert_eq!(mail("AUTH=a+2"), Err(CommandError::Parameter("AUTH")));
    assert!(!mail("RET=FULL").unwrap().for_submission());
}

#[test]
fn what_follows_a_path_is_a_space() {
    assert!(matches!(mail("FROM:<a@b.c>SIZE=1"), Err(CommandError::Arguments(_))));
    assert!(matches!(rcpt("FROM:<a@b.c>"), Err(CommandError::Arguments(_))));
    assert!(mail("from: <a@b.c>  SIZE=1 ").is_ok());
}
