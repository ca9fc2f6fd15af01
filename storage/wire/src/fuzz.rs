//! What a fuzzer calls: bytes of a peer, which must never do more than be refused.

use prost::Message;

use crate::{convert, proto};

/// Decodes bytes as each message; whatever is accepted survives a round trip.
///
/// # Panics
/// When an accepted request changes on its way out and back in: that is the finding.
pub fn fuzz_messages(data: &[u8]) {
    if let Some(request) = proto::ExecuteRequest::decode(data).ok().and_then(|m| convert::execute_from_wire(m).ok()) {
        assert_eq!(convert::execute_from_wire(convert::execute_to_wire(&request)), Ok(request));
    }
    if let Some((group, query, token)) =
        proto::QueryRequest::decode(data).ok().and_then(|m| convert::query_from_wire(&m).ok())
    {
        let again = convert::query_to_wire(group, &query, token);
        assert_eq!(convert::query_from_wire(&again), Ok((group, query, token)));
    }
    if let Some(outcome) = proto::ExecuteReply::decode(data).ok().and_then(|m| convert::outcome_from_wire(&m).ok()) {
        assert_eq!(convert::outcome_from_wire(&convert::outcome_to_wire(&outcome)), Ok(outcome));
    }
}

#[cfg(test)]
mod tests {
    use securanet_model::{
        AccountId, Command, Epoch, Execute, GroupId, MailboxName, Query, Reply, RequestId, StoreError, UnixMillis,
        account::{AccountCommand, AccountQuery, AccountRef, AccountReply},
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
        vec![
            convert::execute_to_wire(&request).encode_to_vec(),
            convert::query_to_wire(GroupId::new(3), &query, None).encode_to_vec(),
            convert::outcome_to_wire(&Ok((vec![Reply::Account(AccountReply::Done)], 5))).encode_to_vec(),
            convert::outcome_to_wire(&Err(StoreError::Busy)).encode_to_vec(),
        ]
    }

    #[test]
    fn messages_survive_a_round_trip() {
        seeds().iter().for_each(|seed| fuzz_messages(seed));
    }

    #[test]
    fn mutated_messages_are_refused_or_survive() {
        let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for _ in 0..4000 {
            for mut seed in seeds() {
                for _ in 0..=next() % 4 {
                    let at = usize::try_from(next()).unwrap_or(0) % seed.len();
                    seed[at] = next().to_le_bytes()[0];
                }
                seed.truncate(usize::try_from(next()).unwrap_or(0) % (seed.len() + 1) + 1);
                fuzz_messages(&seed);
            }
        }
    }

    #[test]
    fn an_empty_or_huge_request_is_refused() {
        let mut request = proto::ExecuteRequest { request_id: vec![0; 16], ..Default::default() };
        assert_eq!(convert::execute_from_wire(request.clone()), Err(convert::WireError::Field("commands")));
        request.commands = vec![Vec::new(); 1001];
        assert_eq!(convert::execute_from_wire(request.clone()), Err(convert::WireError::Field("commands")));
        request.request_id = vec![0; 15];
        assert_eq!(convert::execute_from_wire(request), Err(convert::WireError::Field("request_id")));
    }
}
