//! What a fuzzer calls: bytes of another node, which must never do more than be refused.

use prost::Message;

use super::*;
use crate::WireError;

/// Decodes bytes as each message; whatever is accepted survives a round trip.
///
/// # Panics
/// When an accepted message changes on its way out and back in: that is the finding.
pub fn fuzz_replication(data: &[u8]) {
    fn accepted<M: Message + Default, T>(data: &[u8], check: impl Fn(M) -> Result<T, WireError>) -> Option<T> {
        M::decode(data).ok().and_then(|message| check(message).ok())
    }
    if let Ok(mut unpacker) = Unpacker::new()
        && let Ok(frame) = proto::AppendFrame::decode(data)
        && let Ok(unpacked) = unpacker.unpack(frame, |row| Ok::<_, WireError>(row.clone()))
    {
        drop(frame_from_wire(unpacked, &mut Repeated::default()));
    }
    let read = |frame| frame_from_wire(frame, &mut Repeated::default());
    if let Some(frame) = accepted(data, read) {
        assert_eq!(read(frame_to_wire(frame.clone(), &mut Repeated::default())), Ok(frame));
    }
    if let Some((node, request)) = accepted(data, forward_from_wire) {
        assert_eq!(forward_from_wire(forward_to_wire(&node, &request)), Ok((node, request)));
    }
    if let Some(replies) = accepted(data, replies_from_wire) {
        assert_eq!(replies_from_wire(replies_to_wire(replies.clone())), Ok(replies));
    }
    if let Some(ask) = accepted(data, vote_from_wire) {
        assert_eq!(vote_from_wire(vote_to_wire(&ask)), Ok(ask));
    }
    if let Some(outcome) = accepted(data, vote_outcome_from_wire) {
        assert_eq!(vote_outcome_from_wire(vote_outcome_to_wire(outcome.clone())), Ok(outcome));
    }
    if let Some(ask) = accepted(data, transfer_from_wire) {
        assert_eq!(transfer_from_wire(transfer_to_wire(&ask)), Ok(ask));
    }
    if let Some(outcome) = accepted(data, transfer_outcome_from_wire) {
        assert_eq!(transfer_outcome_from_wire(transfer_outcome_to_wire(outcome.clone())), Ok(outcome));
    }
    if let Some(ask) = accepted(data, replica_from_wire) {
        assert_eq!(replica_from_wire(replica_to_wire(&ask)), Ok(ask));
    }
    if let Some(outcome) = accepted(data, read_index_from_wire) {
        assert_eq!(read_index_from_wire(read_index_to_wire(outcome.clone())), Ok(outcome));
    }
    if let Some(outcome) = accepted(data, state_outcome_from_wire) {
        assert_eq!(state_outcome_from_wire(state_outcome_to_wire(outcome.clone())), Ok(outcome));
    }
    if let Some(begin) = accepted(data, begin_from_wire) {
        let super::proto::SnapshotFrame { frame: Some(proto::snapshot_frame::Frame::Begin(again)) } =
            begin_to_wire(&begin)
        else {
            return;
        };
        assert_eq!(begin_from_wire(again), Ok(begin));
    }
    if let Some(taken) = accepted(data, taken_from_wire) {
        assert_eq!(taken_from_wire(taken_to_wire(taken.clone())), Ok(taken));
    }
    if let Some(ask) = accepted(data, blob_request_from_wire) {
        assert_eq!(blob_request_from_wire(blob_request_to_wire(ask.clone())), Ok(ask));
    }
    // Only read; what is written is not made of these.
    drop(accepted(data, blob_step_from_wire));
    drop(accepted(data, super::snapshot_frame_from_wire));
}

#[cfg(test)]
mod tests {
    use prost::bytes::Bytes;
    use securanet_model::{
        AccountId, BlobId, Command, Epoch, Execute, GroupId, MailboxName, RequestId, TenantId, UnixMillis,
        account::{AccountCommand, AccountRef},
    };

    use super::*;

    const VOTE: Ballot = Ballot { term: 3, replica: 2, committed: true };
    const AT: Position = Position { term: 3, leader: 2, index: 77 };

    fn frame() -> AppendFrame {
        let append = Append {
            session: 9,
            group: GroupId::new(3),
            targets: vec![1, 4],
            vote: VOTE,
            previous: Some(AT),
            entries: vec![Bytes::from_static(b"row"), Bytes::from_static(b"another")],
            commit: Some(AT),
        };
        AppendFrame {
            node: Some("node-1".to_owned()),
            appends: vec![append.clone(), Append { entries: Vec::new(), ..append }],
            clock_asked: Some(300),
        }
    }

    fn packed() -> proto::AppendFrame {
        let mut frame = frame_to_wire(frame(), &mut Repeated::default());
        frame.appends[0].entries = vec![Bytes::from(b"a row that is long enough. ".repeat(30))];
        Packer::new().unwrap().pack(frame, Bytes::clone).unwrap()
    }

    fn request() -> Execute {
        let account = AccountRef { id: AccountId::new(7), epoch: Epoch::new(1) };
        let command = AccountCommand::CreateMailbox { name: MailboxName::inbox(), special_use: None };
        Execute {
            group: GroupId::new(3),
            request: RequestId::new([9; 16]),
            deadline: UnixMillis::new(1_700_000_000_000),
            commands: vec![Command::Account(account, command)],
        }
    }

    fn replies() -> Vec<AppendReply> {
        let outcomes = [
            Outcome::Matched(Some(AT)),
            Outcome::Matched(None),
            Outcome::Conflict(AT),
            Outcome::HigherVote(VOTE),
            Outcome::Refused("no".to_owned()),
            Outcome::Waiting { blobs: 3 },
            Outcome::Clock { asked: 300, wall: UnixMillis::new(1_700_000_000_000) },
        ];
        outcomes.map(|outcome| AppendReply { session: 9, replica: 4, outcome }).to_vec()
    }

    fn blob_ask(holders: usize) -> BlobAsk {
        let blob = BlobId { tenant: TenantId::new(1), hash: [9; 32] };
        let holders = (0..holders).map(|holder| format!("node-{holder}")).collect();
        BlobAsk { node: "node-1".to_owned(), blob, holders, bulk: true }
    }

    fn blob_frame(frame: proto::blob_frame::Frame) -> Vec<u8> {
        proto::BlobFrame { frame: Some(frame) }.encode_to_vec()
    }

    fn seeds() -> Vec<Vec<u8>> {
        let (node, group) = ("node-1".to_owned(), GroupId::new(3));
        let ask = VoteAsk {
            node: node.clone(),
            group,
            target: 2,
            pre_vote: true,
            vote: VOTE,
            last: Some(AT),
            transfer: true,
        };
        let transfer = TransferAsk { node: node.clone(), group, target: 2, to: 3, vote: VOTE, last: Some(AT) };
        let begin = SnapshotBegin { node: node.clone(), group, target: 2, vote: VOTE, id: [7; 16] };
        let taken = SnapshotPosition { chunks: 4, rows: 500, after: Some(Bytes::from_static(b"key")) };
        let Some(proto::snapshot_frame::Frame::Begin(inner)) = begin_to_wire(&begin).frame else { unreachable!() };
        vec![
            frame_to_wire(frame(), &mut Repeated::default()).encode_to_vec(),
            packed().encode_to_vec(),
            forward_to_wire("node-1", &request()).encode_to_vec(),
            replies_to_wire(replies()).encode_to_vec(),
            vote_to_wire(&ask).encode_to_vec(),
            vote_outcome_to_wire(Ok(Voted { vote: VOTE, granted: true, last: Some(AT) })).encode_to_vec(),
            vote_outcome_to_wire(Err("no".to_owned())).encode_to_vec(),
            transfer_to_wire(&transfer).encode_to_vec(),
            transfer_outcome_to_wire(TransferOutcome::NotFlushed(Some(AT))).encode_to_vec(),
            transfer_outcome_to_wire(TransferOutcome::VoteChanged(VOTE)).encode_to_vec(),
            replica_to_wire(&ReplicaAsk { node: node.clone(), group, target: 2 }).encode_to_vec(),
            state_outcome_to_wire(Ok(ReplicaState { hollow: true })).encode_to_vec(),
            read_index_to_wire(Ok(77)).encode_to_vec(),
            read_index_to_wire(Err("no".to_owned())).encode_to_vec(),
            inner.encode_to_vec(),
            begin_to_wire(&begin).encode_to_vec(),
            taken_to_wire(SnapshotTaken::Taken(taken)).encode_to_vec(),
            taken_to_wire(SnapshotTaken::Installed(VOTE)).encode_to_vec(),
            blob_request_to_wire(BlobAsk { bulk: false, ..blob_ask(0) }).encode_to_vec(),
            blob_request_to_wire(blob_ask(HOLDERS_MAX)).encode_to_vec(),
            blob_frame(proto::blob_frame::Frame::Bytes(Bytes::from_static(b"abc"))),
            blob_frame(proto::blob_frame::Frame::Checksum(7)),
            blob_frame(proto::blob_frame::Frame::Damaged("bad".to_owned())),
            blob_frame(proto::blob_frame::Frame::Coming(proto::Coming {})),
        ]
    }

    #[test]
    fn messages_survive_a_round_trip() {
        let (mut ours, mut theirs) = (Repeated::default(), Repeated::default());
        for _ in 0..3 {
            assert_eq!(frame_from_wire(frame_to_wire(frame(), &mut ours), &mut theirs), Ok(frame()));
        }
        assert_eq!(replies_from_wire(replies_to_wire(replies())), Ok(replies()));
        seeds().iter().for_each(|seed| fuzz_replication(seed));
    }

    #[test]
    fn mutated_messages_are_refused_or_survive() {
        crate::fuzz::mutated(2000, &seeds(), fuzz_replication);
    }

    #[test]
    fn a_heartbeat_that_is_the_same_again_takes_few_octets_and_one_that_changes_is_whole() {
        let (mut ours, mut theirs) = (Repeated::default(), Repeated::default());
        let heartbeat = |session, commit| {
            let append = Append { session, entries: Vec::new(), commit, ..frame().appends.remove(0) };
            AppendFrame { appends: vec![append], ..AppendFrame::default() }
        };
        let mut sizes = Vec::new();
        for (session, commit) in [(1, Some(AT)), (2, Some(AT)), (3, None), (4, None), (5, Some(AT))] {
            let sent = heartbeat(session, commit);
            let wire = frame_to_wire(sent.clone(), &mut ours);
            sizes.push(wire.encoded_len());
            assert_eq!(frame_from_wire(wire, &mut theirs), Ok(sent));
        }
        assert!(sizes[1] < 12 && sizes[3] < 12 && sizes[0] > 25 && sizes[2] > 20 && sizes[4] > 25, "{sizes:?}");
        // Entries between them make the next one whole.
        let wire = frame_to_wire(frame(), &mut ours);
        assert_eq!(frame_from_wire(wire, &mut theirs), Ok(frame()));
        let alone = frame_to_wire(heartbeat(9, Some(AT)), &mut ours);
        assert_eq!(frame_from_wire(alone, &mut theirs), Ok(heartbeat(9, Some(AT))));
        let nothing_to_repeat = frame_to_wire(heartbeat(10, Some(AT)), &mut ours);
        assert!(nothing_to_repeat.appends[0].repeats);
        let refused = frame_from_wire(nothing_to_repeat, &mut Repeated::default()).unwrap_err();
        assert!(refused.to_string().contains("repeats"), "{refused}");
    }

    #[test]
    fn what_is_missing_foreign_or_beyond_its_bound_is_refused_by_name() {
        let refused = |change: fn(&mut proto::AppendFrame)| {
            let mut wire = frame_to_wire(frame(), &mut Repeated::default());
            change(&mut wire);
            frame_from_wire(wire, &mut Repeated::default()).unwrap_err().to_string()
        };
        assert!(refused(|frame| frame.appends[0].vote = None).contains("vote"));
        assert!(refused(|frame| frame.appends[1].targets.clear()).contains("targets"));
        assert!(refused(|frame| frame.appends[1].targets = vec![1; 17]).contains("targets"));
        assert!(refused(|frame| frame.appends[0].entries = vec![Bytes::new(); 1025]).contains("entries"));
        assert!(refused(|frame| frame.appends = vec![frame.appends[1].clone(); 4097]).contains("appends"));
        let hello = |version, node: &str| Some(proto::Hello { version, node: node.to_owned() });
        let vote = |hello| vote_from_wire(proto::VoteRequest { hello, vote: Some(VOTE.into()), ..Default::default() });
        assert!(vote(hello(1, "node")).is_ok());
        assert!(vote(hello(2, "node")).unwrap_err().to_string().contains("version"));
        assert!(vote(hello(1, "")).unwrap_err().to_string().contains("node"));
        assert!(vote(hello(1, &"n".repeat(256))).unwrap_err().to_string().contains("node"));
        assert!(vote(None).unwrap_err().to_string().contains("hello"));
        let blob = |change: fn(&mut proto::BlobRequest)| {
            let mut wire = blob_request_to_wire(blob_ask(HOLDERS_MAX));
            change(&mut wire);
            blob_request_from_wire(wire)
        };
        assert_eq!(blob(|_| {}), Ok(blob_ask(HOLDERS_MAX)));
        assert_eq!(blob(|wire| wire.hash = Bytes::from_static(&[9; 31])), Err(WireError::Field("hash")));
        assert_eq!(blob(|wire| wire.holders.push("node".to_owned())), Err(WireError::Field("holders")));
        assert_eq!(blob(|wire| wire.holders[7].clear()), Err(WireError::Field("holders")));
        assert_eq!(blob(|wire| wire.holders[7] = "n".repeat(256)), Err(WireError::Field("holders")));
        let frame = proto::BlobFrame { frame: Some(proto::blob_frame::Frame::Bytes(vec![0; 256 * 1024 + 1].into())) };
        assert_eq!(blob_step_from_wire(frame), Err(WireError::Field("bytes")));
        let long =
            replies_to_wire(vec![AppendReply { session: 1, replica: 1, outcome: Outcome::Refused("ü".repeat(4000)) }]);
        let Some(proto::append_reply::Outcome::Refused(why)) = &long.replies[0].outcome else { unreachable!() };
        assert_eq!(why.len(), 4096);
    }
}
