//! What a fuzzer calls: bytes of a peer, which must never do more than be refused.

use prost::Message;

use crate::{content, convert, enrolment, proto, watching};

/// Decodes bytes as each message; whatever is accepted survives a round trip.
///
/// # Panics
/// When an accepted request changes on its way out and back in: that is the finding.
pub fn fuzz_messages(data: &[u8]) {
    if let Some(request) = proto::ExecuteRequest::decode(data).ok().and_then(|m| convert::execute_from_wire(m).ok()) {
        assert_eq!(convert::execute_from_wire(convert::execute_to_wire(&request)), Ok(request));
    }
    if let Some((group, query, freshness)) =
        proto::QueryRequest::decode(data).ok().and_then(|m| convert::query_from_wire(&m).ok())
    {
        let again = convert::query_to_wire(group, &query, freshness);
        assert_eq!(convert::query_from_wire(&again), Ok((group, query, freshness)));
    }
    if let Some(answer) = proto::QueryReply::decode(data).ok().and_then(|m| convert::answer_from_wire(&m).ok()) {
        assert_eq!(convert::answer_from_wire(&convert::answer_to_wire(&answer)), Ok(answer));
    }
    fuzz_streams(data);
    if let Some(outcome) = proto::ExecuteReply::decode(data).ok().and_then(|m| convert::outcome_from_wire(&m).ok()) {
        assert_eq!(convert::outcome_from_wire(&convert::outcome_to_wire(&outcome)), Ok(outcome));
    }
}

/// The same for what travels in streams.
fn fuzz_streams(data: &[u8]) {
    if let Some(wish) = proto::WatchRequest::decode(data).ok().and_then(|m| watching::wish_from_wire(&m).ok()) {
        assert_eq!(watching::wish_from_wire(&watching::wish_to_wire(wish)), Ok(wish));
    }
    if let Some(event) = proto::WatchEvent::decode(data).ok().and_then(|m| watching::event_from_wire(&m).ok()) {
        assert_eq!(watching::event_from_wire(&watching::event_to_wire(&event)), Ok(event));
    }
    if let Some(step) = proto::PutFrame::decode(data).ok().and_then(|m| content::put_from_wire(m).ok()) {
        assert_eq!(content::put_from_wire(content::put_to_wire(step.clone())), Ok(step));
    }
    if let Some(answer) = proto::PutReply::decode(data).ok().and_then(|m| content::put_answer_from_wire(&m).ok()) {
        assert_eq!(content::put_answer_from_wire(&content::put_answer_to_wire(&answer)), Ok(answer));
    }
    if let Some(step) = proto::ReadRequest::decode(data).ok().and_then(|m| content::read_from_wire(&m).ok()) {
        assert_eq!(content::read_from_wire(&content::read_to_wire(&step)), Ok(step));
    }
    if let Some(answer) = proto::ReadFrame::decode(data).ok().and_then(|m| content::read_answer_from_wire(m).ok()) {
        assert_eq!(content::read_answer_from_wire(content::read_answer_to_wire(answer.clone())), Ok(answer));
    }
}

/// Decodes bytes as each message of coming into a cluster; whatever is accepted survives a round trip.
///
/// # Panics
/// When what was accepted changes on its way out and back in: that is the finding.
pub fn fuzz_enrolment(data: &[u8]) {
    if let Some(ask) = enrolment::proto::JoinRequest::decode(data).ok().and_then(|m| enrolment::join_from_wire(m).ok())
    {
        assert!(enrolment::join_from_wire(enrolment::join_to_wire(&ask)) == Ok(ask));
    }
    if let Some(outcome) =
        enrolment::proto::JoinReply::decode(data).ok().and_then(|m| enrolment::joined_from_wire(m).ok())
    {
        assert_eq!(enrolment::joined_from_wire(enrolment::joined_to_wire(&outcome)), Ok(outcome));
    }
    if let Some(request) =
        enrolment::proto::RenewRequest::decode(data).ok().and_then(|m| enrolment::renew_from_wire(m).ok())
    {
        assert_eq!(enrolment::renew_from_wire(enrolment::renew_to_wire(request.clone())), Ok(request));
    }
    if let Some(outcome) =
        enrolment::proto::RenewReply::decode(data).ok().and_then(|m| enrolment::renewed_from_wire(m).ok())
    {
        assert_eq!(enrolment::renewed_from_wire(enrolment::renewed_to_wire(&outcome)), Ok(outcome));
    }
    if let Some(report) =
        enrolment::proto::ReportReply::decode(data).ok().and_then(|m| enrolment::report_from_wire(&m).ok())
    {
        assert_eq!(enrolment::report_from_wire(&enrolment::report_to_wire(&report)), Ok(report));
    }
}

/// Calls `fuzz` with each seed, some of its octets changed and cut short, in so many rounds that are the same each time.
#[cfg(test)]
pub(crate) fn mutated(rounds: usize, seeds: &[Vec<u8>], fuzz: impl Fn(&[u8])) {
    let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..rounds {
        for seed in seeds {
            let mut seed = seed.clone();
            for _ in 0..=next() % 4 {
                let at = usize::try_from(next()).unwrap_or(0) % seed.len();
                seed[at] = next().to_le_bytes()[0];
            }
            seed.truncate(usize::try_from(next()).unwrap_or(0) % (seed.len() + 1) + 1);
            fuzz(&seed);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use securanet_model::{
        AccountId, Answer, Command, EmailId, Epoch, Execute, Freshness, GroupId, MailboxName, Query, Reply, RequestId,
        StoreError, TenantId, Token, UnixMillis,
        account::{AccountCommand, AccountQuery, AccountRef, AccountReply},
        request::{Topic, Totals},
    };

    use super::*;

    fn seeds() -> Vec<Vec<u8>> {
        let account = AccountRef { id: AccountId::new(7), epoch: Epoch::new(1) };
        let command = AccountCommand::CreateMailbox { name: MailboxName::inbox(), special_use: None };
        let request = Execute {
            group: GroupId::new(3),
            request: RequestId::new([9; 16]),
            deadline: UnixMillis::new(1_700_000_000_000),
            commands: vec![Command::Account(account, command)],
        };
        let query = Query::Account(account, AccountQuery::Mailboxes);
        let token = Token { group: GroupId::new(3), epoch: Epoch::new(1), index: 12 };
        vec![
            convert::execute_to_wire(&request).encode_to_vec(),
            convert::query_to_wire(GroupId::new(3), &query, Freshness::Now).encode_to_vec(),
            convert::query_to_wire(GroupId::new(3), &query, Freshness::AtLeast(token)).encode_to_vec(),
            convert::query_to_wire(GroupId::new(3), &query, Freshness::Within(5000)).encode_to_vec(),
            convert::query_to_wire(GroupId::new(3), &query, Freshness::Any).encode_to_vec(),
            convert::outcome_to_wire(&Ok((vec![Reply::Account(AccountReply::Done)], 5))).encode_to_vec(),
            convert::outcome_to_wire(&Err(StoreError::NotLeader { leader: Some("a".to_owned()) })).encode_to_vec(),
            convert::answer_to_wire(&Ok((Answer::Totals(Totals::default()), 5))).encode_to_vec(),
            convert::answer_to_wire(&Err(StoreError::Busy)).encode_to_vec(),
        ]
    }

    fn streams() -> Vec<Vec<u8>> {
        use content::{PutAnswer, PutStep, ReadAnswer, ReadStep, Source};
        use watching::{Event, Wish};
        let account = AccountRef { id: AccountId::new(7), epoch: Epoch::new(1) };
        let email = Source::Email(GroupId::new(3), account, EmailId::new(9));
        let begin =
            PutStep::Begin { tenant: TenantId::new(1), trace: b"Received: x".to_vec(), size_hint_bytes: Some(5) };
        let opened = ReadAnswer::Opened { size_bytes: 9, head: Bytes::from_static(b"head") };
        let chunk = ReadAnswer::Chunk { bytes: Bytes::from_static(b"more"), last: true };
        let status = Err(StoreError::DiskFull { reserve_bytes: 5 });
        vec![
            watching::wish_to_wire(Wish::Subscribe(Topic::Account(AccountId::new(5)))).encode_to_vec(),
            watching::wish_to_wire(Wish::Unsubscribe(Topic::Directory)).encode_to_vec(),
            watching::event_to_wire(&Event::Changed(Topic::Outbound(GroupId::new(2)))).encode_to_vec(),
            watching::event_to_wire(&Event::Status(Ok(()))).encode_to_vec(),
            watching::event_to_wire(&Event::Status(status)).encode_to_vec(),
            content::put_to_wire(begin).encode_to_vec(),
            content::put_to_wire(PutStep::Bytes(Bytes::from_static(b"octets"))).encode_to_vec(),
            content::put_to_wire(PutStep::End(6)).encode_to_vec(),
            content::put_answer_to_wire(&PutAnswer::Begun).encode_to_vec(),
            content::put_answer_to_wire(&PutAnswer::Failed(StoreError::Busy)).encode_to_vec(),
            content::read_to_wire(&ReadStep::Open(email, 5)).encode_to_vec(),
            content::read_to_wire(&ReadStep::Open(Source::Outbound(GroupId::new(3), 4), 0)).encode_to_vec(),
            content::read_to_wire(&ReadStep::Range(5..6)).encode_to_vec(),
            content::read_answer_to_wire(opened).encode_to_vec(),
            content::read_answer_to_wire(chunk).encode_to_vec(),
            content::read_answer_to_wire(ReadAnswer::Failed(StoreError::NotFound)).encode_to_vec(),
        ]
    }

    #[test]
    fn messages_of_streams_survive_a_round_trip() {
        let survives = |seed: &Vec<u8>| {
            let read = [
                proto::WatchRequest::decode(&seed[..]).ok().is_some_and(|m| watching::wish_from_wire(&m).is_ok()),
                proto::WatchEvent::decode(&seed[..]).ok().is_some_and(|m| watching::event_from_wire(&m).is_ok()),
                proto::PutFrame::decode(&seed[..]).ok().is_some_and(|m| content::put_from_wire(m).is_ok()),
                proto::PutReply::decode(&seed[..]).ok().is_some_and(|m| content::put_answer_from_wire(&m).is_ok()),
                proto::ReadRequest::decode(&seed[..]).ok().is_some_and(|m| content::read_from_wire(&m).is_ok()),
                proto::ReadFrame::decode(&seed[..]).ok().is_some_and(|m| content::read_answer_from_wire(m).is_ok()),
            ];
            fuzz_messages(seed);
            read.contains(&true)
        };
        assert!(streams().iter().all(survives), "a message is refused on its way back in");
    }

    #[test]
    fn frames_beyond_their_bounds_are_refused() {
        use content::{FRAME_SIZE_BYTES_MAX, HEAD_SIZE_BYTES_MAX, PutStep, ReadAnswer, ReadStep, Source};
        let field = |name| Err(convert::WireError::Field(name));
        let put = |step| content::put_from_wire(content::put_to_wire(step)).map(drop);
        let large = || Bytes::from(vec![0; FRAME_SIZE_BYTES_MAX + 1]);
        assert_eq!(put(PutStep::Bytes(large())), field("bytes"));
        assert_eq!(put(PutStep::Bytes(Bytes::new())), field("bytes"));
        let trace = vec![0; content::TRACE_SIZE_BYTES_MAX + 1];
        assert_eq!(put(PutStep::Begin { tenant: TenantId::new(1), trace, size_hint_bytes: None }), field("trace"));
        let read = |step| content::read_from_wire(&content::read_to_wire(&step)).map(drop);
        let source = Source::Outbound(GroupId::new(1), 1);
        assert_eq!(read(ReadStep::Open(source, HEAD_SIZE_BYTES_MAX + 1)), field("head_bytes"));
        #[allow(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let backwards = ReadStep::Range(2..1);
        assert_eq!(read(backwards), field("range"));
        let answer = |answer| content::read_answer_from_wire(content::read_answer_to_wire(answer)).map(drop);
        assert_eq!(answer(ReadAnswer::Chunk { bytes: large(), last: true }), field("bytes"));
        let longer = ReadAnswer::Opened { size_bytes: 1, head: Bytes::from_static(b"ab") };
        assert_eq!(answer(longer), field("head"));
    }

    #[test]
    fn messages_survive_a_round_trip() {
        seeds().iter().for_each(|seed| fuzz_messages(seed));
    }

    #[test]
    fn mutated_messages_are_refused_or_survive() {
        mutated(4000, &[seeds(), streams()].concat(), fuzz_messages);
    }

    #[test]
    fn an_empty_or_huge_request_is_refused() {
        let mut request = proto::ExecuteRequest { request_id: vec![0; 16], ..Default::default() };
        assert_eq!(convert::execute_from_wire(request.clone()), Err(convert::WireError::Field("commands")));
        request.commands = vec![Vec::new(); 1001];
        assert_eq!(convert::execute_from_wire(request.clone()), Err(convert::WireError::Field("commands")));
        request.commands = vec![vec![0; 1 << 20]; 33];
        assert_eq!(convert::execute_from_wire(request.clone()), Err(convert::WireError::Field("commands")));
        request.request_id = vec![0; 15];
        assert_eq!(convert::execute_from_wire(request), Err(convert::WireError::Field("request_id")));
    }
}
