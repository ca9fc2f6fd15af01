//! SEARCH and UID SEARCH (RFC 9051 6.4.4, RFC 4731 ESEARCH, RFC 5182 SEARCHRES, RFC 7162, RFC 8474, RFC 5032).
//!
//! Keys are answered in the order of their cost: what the row knows first; a message is opened only when its row
//! leaves the question open. Messages are read in pages, so a search holds one page whatever the mailbox.

use securanet_gateway::{
    clock,
    model::{AccountId, ModSeq, StoreError, Uid, UnixMillis, account::UidSet},
};

use crate::{
    grammar::{
        Tag,
        date::Date,
        search::{Returns, Search, SearchKey, TextKey},
    },
    mailbox::{
        Account, Selection, View, out_of_turn,
        row::{self, Detail, Need, Row},
    },
    metric,
    response::{Code, Found, Stop, Tagged, email_object_id, thread_object_id},
    search::{self, Searched},
    session::{Session, state::Selected},
};

/// Answers.
pub(crate) async fn run(
    session: &mut Session,
    selected: &mut Selected,
    tag: &Tag,
    uid: bool,
    search: Search,
) -> Result<Tagged, Stop> {
    // RFC 9051 6.4.4: with IMAP4rev2, a search without RETURN is one with RETURN (ALL).
    let rev2 = session.out.enabled.rev2.then_some(Returns { all: true, ..Returns::default() });
    let returns = search.returns.or(rev2);
    let saves = returns.is_some_and(|returns| returns.save);
    let hits = match search.key {
        None => Err(Tagged::no("That charset is not supported").code(Code::BAD_CHARSET).into()),
        Some(key) => find(session, selected, key).await,
    };
    let mut hits = match hits {
        Ok(hits) => hits,
        Err(stop) => {
            // RFC 5182 2.1: a search that fails with SAVE leaves nothing saved.
            if saves {
                selected.saved = UidSet::default();
            }
            return Err(stop);
        }
    };
    if let Some(returns) = &returns {
        restrict(&mut hits, returns, &mut selected.saved);
    }
    let found = numbered(&selected.view, &hits, uid);
    match &returns {
        None => session.out.search(&found),
        Some(returns) if *returns == (Returns { save: true, ..Returns::default() }) => {}
        Some(returns) => session.out.extended_search(tag, uid, returns, &found),
    }
    Ok(Tagged::ok("Search is done"))
}

/// What a search found.
struct Hits {
    /// Ascending by UID.
    states: Vec<Hit>,
    /// The search asked about mod-sequences, so the answer tells one.
    with_modseq: bool,
}

#[derive(Clone, Copy)]
struct Hit {
    uid: Uid,
    modseq: ModSeq,
}

/// Leaves what the mod-sequence of the answer is about, and saves what is to be saved (RFC 5182 2.4,
/// RFC 7162 3.1.10): with MIN and MAX alone, only those.
fn restrict(hits: &mut Hits, returns: &Returns, saved: &mut UidSet) {
    let ends_only = (returns.min || returns.max) && !returns.all && !returns.count;
    if ends_only {
        let first = hits.states.first().copied().filter(|_| returns.min);
        let last = hits.states.last().copied().filter(|_| returns.max);
        hits.states = first.into_iter().chain(last).collect();
        hits.states.dedup_by_key(|hit| hit.uid);
    }
    if returns.save {
        *saved = UidSet::from_uids(hits.states.iter().map(|hit| hit.uid));
    }
}

fn numbered(view: &View, hits: &Hits, uid: bool) -> Found {
    let number = |hit: &Hit| if uid { Some(hit.uid.get()) } else { view.sequence(hit.uid) };
    let modseq = hits.states.iter().map(|hit| hit.modseq.get()).max().filter(|_| hits.with_modseq);
    Found { numbers: hits.states.iter().filter_map(number).collect(), modseq }
}

async fn find(session: &mut Session, selected: &mut Selected, key: SearchKey) -> Result<Hits, Stop> {
    let with_modseq = key.any(&mut |key| matches!(key, SearchKey::ModSeq(_)));
    session.out.enabled.condstore |= with_modseq;
    let (view, account) = (&selected.view, &selected.authenticated.account);
    let mut texts = Vec::new();
    let test = compile(&key, view, &selected.saved, &mut texts);
    let need = if !texts.is_empty() {
        Need::Summary
    } else if key.any(&mut |key| needs_message(key)) {
        Need::Message
    } else {
        Need::State
    };
    let running = Running { view, account, account_id: account.id(), now: clock::now(), texts };
    let mut states = Vec::new();
    for page in test.candidates(view).pages(view.uids(), need.rows_max()) {
        for row in row::read(account, view.mailbox, page, need).await? {
            let Some(sequence) = view.sequence(row.state.uid) else { continue };
            if running.fits(&test, &row, sequence as usize - 1).await? {
                states.push(Hit { uid: row.state.uid, modseq: row.state.modseq });
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(Hits { states, with_modseq })
}

const fn needs_message(key: &SearchKey) -> bool {
    use SearchKey as K;
    matches!(
        key,
        K::Larger(_) | K::Smaller(_) | K::Internal(..) | K::Saved(..) | K::Older(_) | K::Younger(_) | K::ThreadId(_)
    )
}

/// A key with its sets resolved.
enum Test<'k> {
    And(Vec<Self>),
    Or(Box<(Self, Self)>),
    Not(Box<Self>),
    /// Positions in the view.
    In(Selection),
    /// What the row answers.
    Row(&'k SearchKey),
    /// What only the message answers: its place in [`Running::texts`].
    Text(usize),
}

/// What is known of a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Known(bool),
    /// This text key decides.
    Ask(usize),
}

fn compile<'k>(key: &'k SearchKey, view: &View, saved: &UidSet, texts: &mut Vec<&'k TextKey>) -> Test<'k> {
    match key {
        SearchKey::And(keys) => Test::And(keys.iter().map(|key| compile(key, view, saved, texts)).collect()),
        SearchKey::Or(pair) => {
            Test::Or(Box::new((compile(&pair.0, view, saved, texts), compile(&pair.1, view, saved, texts))))
        }
        SearchKey::Not(key) => Test::Not(Box::new(compile(key, view, saved, texts))),
        SearchKey::Sequence(set) => Test::In(view.find(set, false, saved)),
        SearchKey::Uid(set) => Test::In(view.find(set, true, saved)),
        SearchKey::Text(key) => {
            texts.push(key);
            Test::Text(texts.len() - 1)
        }
        key => Test::Row(key),
    }
}

impl Test<'_> {
    /// The messages that can fit at all.
    fn candidates(&self, view: &View) -> Selection {
        match self {
            Self::In(selection) => selection.clone(),
            Self::And(tests) => {
                let sets = tests.iter().filter_map(|test| if let Self::In(set) = test { Some(set) } else { None });
                sets.min_by_key(|set| set.count()).cloned().unwrap_or_else(|| view.everything())
            }
            _ => view.everything(),
        }
    }

    fn verdict(&self, row: &impl Fn(&SearchKey) -> bool, position: usize, answers: &[Option<bool>]) -> Verdict {
        match self {
            Self::In(selection) => Verdict::Known(selection.contains(position)),
            Self::Row(key) => Verdict::Known(row(key)),
            Self::Text(at) => answers[*at].map_or(Verdict::Ask(*at), Verdict::Known),
            Self::Not(test) => match test.verdict(row, position, answers) {
                Verdict::Known(fits) => Verdict::Known(!fits),
                ask @ Verdict::Ask(_) => ask,
            },
            Self::And(tests) => first_decisive(tests.iter(), false, row, position, answers),
            Self::Or(pair) => first_decisive([&pair.0, &pair.1].into_iter(), true, row, position, answers),
        }
    }
}

/// AND is decided by a false, OR by a true; else by what must be asked; else it is the other.
fn first_decisive<'t, 'k: 't>(
    tests: impl Iterator<Item = &'t Test<'k>>,
    decisive: bool,
    row: &impl Fn(&SearchKey) -> bool,
    position: usize,
    answers: &[Option<bool>],
) -> Verdict {
    let mut verdict = Verdict::Known(!decisive);
    for test in tests {
        match test.verdict(row, position, answers) {
            known @ Verdict::Known(fits) if fits == decisive => return known,
            ask @ Verdict::Ask(_) if matches!(verdict, Verdict::Known(_)) => verdict = ask,
            _ => {}
        }
    }
    verdict
}

/// A search that runs.
struct Running<'a> {
    view: &'a View,
    account: &'a Account,
    account_id: AccountId,
    now: UnixMillis,
    texts: Vec<&'a TextKey>,
}

impl Running<'_> {
    /// Whether a message fits; it is opened only when its row leaves that open.
    async fn fits(&self, test: &Test<'_>, row: &Row, position: usize) -> Result<bool, Stop> {
        let mut answers = vec![None; self.texts.len()];
        let mut content = None;
        loop {
            let at = match test.verdict(&|key| self.row_fits(key, row), position, &answers) {
                Verdict::Known(fits) => return Ok(fits),
                Verdict::Ask(at) => at,
            };
            let detail = row.detail.as_ref().ok_or_else(out_of_turn)?;
            let summary = detail.summary.as_deref().ok_or_else(out_of_turn)?;
            if content.is_none() {
                metric::message_searched();
                let place = self.account.login.place;
                content = match self.account.store.store().open(place.group, place.account, row.state.email).await {
                    Ok(content) => Some(content),
                    // Expunged in this moment: it fits nothing any more.
                    Err(StoreError::NotFound) => return Ok(false),
                    Err(error) => return Err(error.into()),
                };
            }
            let Some(content) = content.as_deref() else { return Ok(false) };
            let searched = Searched { summary, content, prefix_size_bytes: detail.prefix_size_bytes };
            answers[at] = Some(search::matches(self.texts[at], &searched).await?);
            // Texts are compared by this thread, and others want their turn on it.
            tokio::task::yield_now().await;
        }
    }

    fn row_fits(&self, key: &SearchKey, row: &Row) -> bool {
        let state = &row.state;
        let detail = |test: &dyn Fn(&Detail) -> bool| row.detail.as_ref().is_some_and(test);
        match key {
            SearchKey::Flag(flag) => state.flags.system.contains(*flag),
            SearchKey::Keyword(keyword) => state.flags.has(keyword),
            SearchKey::Recent => self.view.is_recent(state.uid),
            SearchKey::ModSeq(modseq) => state.modseq.get() >= *modseq,
            SearchKey::EmailId(id) => email_object_id(self.account_id, state.email) == *id,
            SearchKey::Larger(octets) => detail(&|detail| detail.size_bytes > *octets),
            SearchKey::Smaller(octets) => detail(&|detail| detail.size_bytes < *octets),
            SearchKey::Internal(how, day) => detail(&|detail| how.fits(Date::of(detail.internal_date), *day)),
            SearchKey::Saved(how, day) => detail(&|detail| how.fits(Date::of(detail.saved_date), *day)),
            SearchKey::Older(seconds) => detail(&|detail| self.age_seconds(detail) >= *seconds),
            SearchKey::Younger(seconds) => detail(&|detail| self.age_seconds(detail) <= *seconds),
            SearchKey::ThreadId(id) => detail(&|detail| thread_object_id(self.account_id, detail.thread) == *id),
            // These are no questions to a row: compile() has made tests of them.
            SearchKey::And(_) | SearchKey::Or(_) | SearchKey::Not(_) => false,
            SearchKey::Sequence(_) | SearchKey::Uid(_) | SearchKey::Text(_) => false,
        }
    }

    fn age_seconds(&self, detail: &Detail) -> u64 {
        self.now.millis_since(detail.internal_date) / 1000
    }
}
