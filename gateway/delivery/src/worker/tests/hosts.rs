//! What hosts cannot do, and what that says of the destination and of other mail.

use super::*;

#[tokio::test(start_paused = true)]
async fn rfc_6531_3_4_a_header_that_can_be_converted_goes_to_a_host_without_smtputf8() {
    let fixture = Fixture::new(World::new(|_| Act::Ascii));
    fixture.store.set_content("From: ann@example.org\r\nSubject: gr\u{fc}n\r\n\r\nIt works.\r\n");
    let said = EnvelopeOptions { utf8: true, ..EnvelopeOptions::default() };
    let item = accept_with(&fixture.store, ann(), &["a@one.example"], said).await;
    let view = fixture.ended(item).await;
    assert_eq!(view.recipients[0].state, State::Delivered, "{view:?}");
    let (utf8, text) = fixture.world.content().remove(0);
    assert!(!utf8 && text.is_ascii() && text.contains("=?utf-8?"), "{text}");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_6531_3_4_a_raw_utf8_header_demands_smtputf8_whatever_the_envelope_said() {
    let fixture = Fixture::new(World::new(|_| Act::Take));
    fixture.store.set_content("From: ann@example.org\r\nSubject: gr\u{fc}n\r\n\r\nIt works.\r\n");
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    fixture.ended(item).await;
    let (utf8, text) = fixture.world.content().remove(0);
    assert!(utf8 && text.contains("Subject: gr\u{fc}n"), "{text}");
    fixture.stop().await;
}
