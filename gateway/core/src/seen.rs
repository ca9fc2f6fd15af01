//! How far a session has seen its account, so that any replica may answer it that is at least as far.
//!
//! A session reads what it wrote and never goes back, whichever store answers; what others changed it sees once the
//! replica it asks has it. The first question, and each one after [`Seen::forget`], holds all that was acknowledged before.

use parking_lot::Mutex;
use securanet_model::{Freshness, GroupId, Token};

use crate::client::AccountPlace;

/// What a session has seen. It has one account: another one's place makes it begin anew.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Option<Token>>);

impl Seen {
    /// How new the next answer about this account must be.
    pub(crate) fn freshness(&self, place: AccountPlace) -> Freshness {
        match *self.0.lock() {
            Some(token) if is_of(token, place) => Freshness::AtLeast(token),
            _ => Freshness::Now,
        }
    }

    /// The account was seen at this index of its group.
    pub(crate) fn saw(&self, place: AccountPlace, index: u64) {
        let mut seen = self.0.lock();
        let before = seen.filter(|token| is_of(*token, place)).map_or(0, |token| token.index);
        *seen = Some(Token { group: place.group, epoch: place.account.epoch, index: index.max(before) });
    }

    /// The session changed something in this group.
    pub(crate) fn changed(&self, group: GroupId, index: u64) {
        if let Some(token) = self.0.lock().as_mut().filter(|token| token.group == group) {
            token.index = token.index.max(index);
        }
    }

    /// The next answer is to hold all that was acknowledged before it was asked for.
    pub(crate) fn forget(&self) {
        *self.0.lock() = None;
    }
}

fn is_of(token: Token, place: AccountPlace) -> bool {
    token.group == place.group && token.epoch == place.account.epoch
}

#[cfg(test)]
mod tests {
    use securanet_model::{AccountId, Epoch, account::AccountRef};

    use super::*;

    fn place(group: u32, epoch: u32) -> AccountPlace {
        let account = AccountRef { id: AccountId::new(7), epoch: Epoch::new(epoch) };
        AccountPlace { group: GroupId::new(group), account }
    }

    fn at_least(group: u32, epoch: u32, index: u64) -> Freshness {
        Freshness::AtLeast(Token { group: GroupId::new(group), epoch: Epoch::new(epoch), index })
    }

    #[test]
    fn a_session_never_goes_back_and_begins_anew_where_its_account_was_moved() {
        let seen = Seen::default();
        assert_eq!(seen.freshness(place(1, 1)), Freshness::Now);
        seen.changed(GroupId::new(1), 3);
        assert_eq!(seen.freshness(place(1, 1)), Freshness::Now, "what was changed says nothing of what was seen");
        seen.saw(place(1, 1), 5);
        seen.changed(GroupId::new(1), 8);
        seen.changed(GroupId::new(2), 90);
        seen.saw(place(1, 1), 7);
        assert_eq!(seen.freshness(place(1, 1)), at_least(1, 1, 8));
        assert_eq!(seen.freshness(place(1, 2)), Freshness::Now, "another epoch");
        seen.saw(place(2, 2), 2);
        assert_eq!(seen.freshness(place(2, 2)), at_least(2, 2, 2));
        seen.forget();
        assert_eq!(seen.freshness(place(2, 2)), Freshness::Now);
    }
}
