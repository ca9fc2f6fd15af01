//! What we sign is verified by another implementation, and RFC 8463's example comes out octet by octet.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use mail_auth::{
    AuthenticatedMessage, DkimResult, MX, MessageAuthenticator, Parameters, RecordSet, ResolverCache, Txt,
    common::{cache::NoCache, parse::TxtRecordParser, verify::DomainKey as PublishedKey},
};
use securanet_gateway::{
    client::StoreClient,
    model::{
        AccountId, Address, Answer, DomainName, EmailId, Execute, Freshness, GroupId, Query, ReversePath, StoreError,
        TenantId, UnixMillis,
        account::AccountRef,
        directory::{DirectoryAnswer, DirectoryQuery},
        dkim::{DkimAlgorithm, DkimKey, DkimState, PrivateKey},
        outbound::{EnvelopeOptions, ItemView, Origin},
        request::Topic,
    },
    signing::SigningKey,
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use tokio::sync::watch;

use super::{DomainKey, Signer, header::fields, sign, signature::signed_octets};
use crate::outgoing::{
    Outgoing,
    harness::{Message, NARROW, WIDE, leaves, mutated, scanned},
};

const RSA: DkimAlgorithm = DkimAlgorithm::RsaSha256;
const ED25519: DkimAlgorithm = DkimAlgorithm::Ed25519Sha256;

fn key(domain: &str, selector: &str, algorithm: DkimAlgorithm) -> Arc<DomainKey> {
    let key = SigningKey::open(algorithm, &SigningKey::generate(algorithm).unwrap()).unwrap();
    Arc::new(DomainKey { domain: DomainName::parse(domain).unwrap(), selector: selector.parse().unwrap(), key })
}

/// The DNS, with what operators are told to publish.
struct Zone {
    hasher: RandomState,
    records: HashMap<u64, Txt>,
}

impl Zone {
    fn of(keys: &[Arc<DomainKey>]) -> Self {
        let hasher = RandomState::new();
        let record = |key: &Arc<DomainKey>| {
            let name = format!("{}._domainkey.{}.", key.selector, key.domain);
            let published = PublishedKey::parse(key.key.record().unwrap().as_bytes()).unwrap();
            (hasher.hash_one(name.as_str()), Txt::DomainKey(Arc::new(published)))
        };
        let records = keys.iter().map(record).collect();
        Self { hasher, records }
    }
}

impl ResolverCache<Box<str>, Txt> for Zone {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        Some(self.records.get(&self.hasher.hash_one(name)).expect("a name that is not published").clone())
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

/// A question to the verifier, which finds all it needs in the zone.
type Asked<'x, 'm> = Parameters<
    'x,
    &'x AuthenticatedMessage<'m>,
    Zone,
    NoCache<Box<str>, RecordSet<MX>>,
    NoCache<Box<str>, RecordSet<Ipv4Addr>>,
    NoCache<Box<str>, RecordSet<Ipv6Addr>>,
    NoCache<IpAddr, RecordSet<Box<str>>>,
>;

/// The results of all signatures of a message.
async fn verify(zone: &Zone, message: &[u8]) -> Vec<DkimResult> {
    let verifier = MessageAuthenticator::new(Default::default(), Default::default()).unwrap();
    let parsed = AuthenticatedMessage::parse(message).unwrap();
    let parameters: Asked<'_, '_> = Parameters {
        params: &parsed,
        cache_txt: Some(zone),
        cache_mx: None,
        cache_ptr: None,
        cache_ipv4: None,
        cache_ipv6: None,
    };
    verifier.verify_dkim(parameters).await.iter().map(|output| output.result().clone()).collect()
}

fn outgoing(message: &[u8], path: crate::outgoing::Path, piece: usize) -> Outgoing {
    let plan = scanned(message, message.len()).plan(path).unwrap();
    Outgoing::new(Message::open(message, piece), Arc::new(plan), Vec::new())
}

async fn signed(message: &[u8], keys: &[Arc<DomainKey>], path: crate::outgoing::Path) -> Vec<u8> {
    let front = sign(outgoing(message, path, 1000), keys).await.unwrap();
    for piece in [1, 7] {
        let again = sign(outgoing(message, path, piece), keys).await.unwrap();
        assert_eq!(again, front, "in pieces of {piece}");
    }
    let field = String::from_utf8(front.clone()).unwrap();
    assert!(field.split("\r\n").all(|line| line.len() <= 78), "{field}");
    assert!(!field.contains("l=") && !field.contains(" t="), "{field}");
    [front, leaves(message, path)].concat()
}

const USUAL: &str = "Received: x\r\nFrom: Ann <ann@example.org>\r\nTo: bob@remote.example,\r\n\tcid@remote.example\r\n\
                     Subject:  Dinner \t today\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\n\
                     Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\
                     List-Unsubscribe: <mailto:x@example.org>\r\nX-Other: y\r\n\r\n Hi. \r\n\r\nWe lost  \tthe game.\r\n\r\n\r\n";

#[tokio::test]
async fn another_implementation_verifies_both_signatures() {
    let keys = [key("example.org", "ed", ED25519), key("example.org", "rsa", RSA)];
    let zone = Zone::of(&keys);
    let long = "a line of words \r\n".repeat(20_000);
    let many_fields: String =
        (0..300).map(|number| format!("X-Field-{number}: {number}\r\nList-Id: {number}\r\n")).collect();
    let messages = [
        USUAL.to_owned(),
        format!("{USUAL}{long}"),
        "From: ann@example.org\r\n\r\n".to_owned(),
        "From: ann@example.org\r\n\r\n\r\n\r\n".to_owned(),
        "From: ann@example.org\r\n\r\nno line end".to_owned(),
        "From: ann@example.org\r\n\r\n \t\r\n.\r\n..\r\n".to_owned(),
        format!("From: ann@example.org\r\n{many_fields}\r\nx\r\n"),
        "Subject: one\r\nFROM: ann@example.org\r\nsubject:two\r\nSubject:\r\n three\r\n\r\nbody\r\n".to_owned(),
        "From: ann@example.org\r\nTo:\r\n\r\nbody\r\n".to_owned(),
        "From: ann@example.org\r\nSubject: =?utf-8?Q?=C3=BC?=\r\n\r\nGrüße und noch mehr Text\r\n".to_owned(),
    ];
    for message in &messages {
        for path in [WIDE, NARROW] {
            let sent = signed(message.as_bytes(), &keys, path).await;
            assert_eq!(verify(&zone, &sent).await, [DkimResult::Pass, DkimResult::Pass], "{message:.100}");
        }
    }
}

#[tokio::test]
async fn what_is_added_or_changed_on_the_way_breaks_the_signature() {
    let keys = [key("example.org", "ed", ED25519)];
    let zone = Zone::of(&keys);
    let sent = String::from_utf8(signed(USUAL.as_bytes(), &keys, WIDE).await).unwrap();
    let harmless = [
        sent.replace("Subject:  Dinner \t today", "SUBJECT: Dinner\r\n today"),
        sent.replace("We lost  \tthe", "We lost the"),
        format!("Received: y\r\nX-Spam: no\r\n{sent}"),
        format!("{sent}\r\n\r\n"),
    ];
    for changed in &harmless {
        assert_eq!(verify(&zone, changed.as_bytes()).await, [DkimResult::Pass], "{changed}");
    }
    let mut harmful = vec![
        sent.replace("today", "tomorrow"),
        sent.replace("the game", "a game"),
        sent.replace("<mailto:x@example.org>", "<mailto:y@example.org>"),
        format!("{sent}more\r\n"),
    ];
    for field in [
        "From: eve@example.net",
        "Subject: x",
        "To: x@example.net",
        "Reply-To: x@example.net",
        "Cc: x@example.net",
        "Date: x",
        "Message-ID: <2@x>",
        "Content-Type: text/html",
        "Content-Transfer-Encoding: base64",
        "MIME-Version: 2",
        "In-Reply-To: <3@x>",
        "References: <4@x>",
    ] {
        harmful.push(format!("{field}\r\n{sent}"));
    }
    for changed in &harmful {
        assert_ne!(*changed, sent);
        let results = verify(&zone, changed.as_bytes()).await;
        assert!(results.len() == 1 && results[0] != DkimResult::Pass, "{changed}");
    }
}

/// RFC 8463 A.1: the seed of the Ed25519 key.
const RFC_8463_SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

#[tokio::test]
async fn rfc_8463_the_example_is_signed_as_it_stands_there() {
    let seed = STANDARD.decode(RFC_8463_SEED).unwrap();
    // RFC 8410 7: a PKCS#8 key is this prefix and the seed.
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key = SigningKey::open(ED25519, &PrivateKey::new([&prefix[..], &seed].concat())).unwrap();
    assert_eq!(key.record().unwrap(), "v=DKIM1; k=ed25519; h=sha256; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let header = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
                  Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
                  Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n";
    let unsigned = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; \
                    i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : \
                    message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
    let names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"];
    let signature = key.sign(&signed_octets(&fields(header.as_bytes()), &names, unsigned)).unwrap();
    let published = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
    assert_eq!(STANDARD.encode(signature), published);

    let message = format!("{header}\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n");
    let domain = DomainName::parse("football.example.com").unwrap();
    let key = Arc::new(DomainKey { domain, selector: "brisbane".parse().unwrap(), key });
    let sent = signed(message.as_bytes(), std::slice::from_ref(&key), WIDE).await;
    assert!(String::from_utf8(sent.clone()).unwrap().contains("bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="));
    assert_eq!(verify(&Zone::of(&[key]), &sent).await, [DkimResult::Pass]);
}

#[tokio::test]
async fn a_header_too_long_for_memory_is_not_signed() {
    let message = format!("From: a@example.org\r\n{}\r\nx\r\n", "X-Field: and so on\r\n".repeat(40_000));
    let keys = [key("example.org", "ed", ED25519)];
    let result = sign(outgoing(message.as_bytes(), WIDE, 100_000), &keys).await;
    assert_eq!(result, Err(super::SignError::HeaderTooLong));
}

/// A directory with keys.
struct Directory {
    keys: Mutex<Vec<DkimKey>>,
    asked: AtomicU32,
    changes: watch::Sender<u64>,
}

impl Store for Directory {
    fn query(&self, _: GroupId, query: Query, _: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        let Query::Directory(DirectoryQuery::DkimKeys(domain)) = query else { panic!("{query:?}") };
        self.asked.fetch_add(1, Ordering::Relaxed);
        let keys = self.keys.lock().unwrap().iter().filter(|key| key.domain == domain).cloned().collect();
        Box::pin(async { Ok(Answered { answer: Answer::Directory(DirectoryAnswer::DkimKeys(keys)), index: 0 }) })
    }

    fn watch(&self, _: Topic) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn execute(&self, _: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        panic!("a signer changes nothing")
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        panic!("a signer writes nothing")
    }

    fn open(&self, _: GroupId, _: AccountRef, _: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        panic!("a signer opens nothing")
    }

    fn open_outbound(&self, _: GroupId, _: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        panic!("a signer opens nothing")
    }

    fn accepting(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn stored(domain: &str, selector: &str, algorithm: DkimAlgorithm, state: DkimState) -> DkimKey {
    DkimKey {
        domain: DomainName::parse(domain).unwrap(),
        selector: selector.parse().unwrap(),
        algorithm,
        private: SigningKey::generate(algorithm).unwrap(),
        state,
        created: UnixMillis::new(0),
    }
}

fn item(origin: Origin) -> ItemView {
    ItemView {
        item: 1,
        queued: UnixMillis::new(0),
        sender: ReversePath::Null,
        options: EnvelopeOptions::default(),
        origin,
        message_id: None,
        trace_id: "t".to_owned(),
        size_bytes: 1,
        recipients: Vec::new(),
    }
}

/// `selector@domain` of each signature.
async fn signers(signer: &Signer, origin: Origin, from: &str) -> Vec<String> {
    let message = format!("From: {from}\r\n\r\nx\r\n");
    let plan = Arc::new(scanned(message.as_bytes(), 100).plan(WIDE).unwrap());
    let content = Message::open(message, 100);
    let front = String::from_utf8(signer.sign(&item(origin), &content, &plan).await.unwrap()).unwrap();
    let tag = |field: &str, tag: &str| {
        field.split([';', ' ', '\r']).find_map(|word| word.strip_prefix(tag).map(str::to_owned)).unwrap()
    };
    let signatures = front.split("DKIM-Signature:").skip(1);
    signatures.map(|field| format!("{}@{}", tag(field, "s="), tag(field, "d="))).collect()
}

#[tokio::test]
async fn active_keys_of_the_author_or_its_parent_sign() {
    let directory = Arc::new(Directory {
        keys: Mutex::new(vec![
            stored("example.org", "e", ED25519, DkimState::Active),
            stored("example.org", "next", ED25519, DkimState::Published),
            stored("example.org", "old", RSA, DkimState::Retired),
            stored("example.org", "r", RSA, DkimState::Active),
        ]),
        asked: AtomicU32::new(0),
        changes: watch::channel(0).0,
    });
    let store: Arc<dyn Store> = directory.clone();
    let signer = Signer::new(StoreClient::new(store));
    let account = || Origin::Account(AccountId::new(1));
    assert_eq!(signers(&signer, account(), "ann@example.org").await, ["e@example.org", "r@example.org"]);
    assert_eq!(signers(&signer, Origin::Report, "MAILER-DAEMON@mx.example.org").await.len(), 2);
    assert_eq!(signers(&signer, account(), "ann@example.net").await.len(), 0);
    let asked = directory.asked.load(Ordering::Relaxed);
    assert_eq!(signers(&signer, account(), "ann@example.org").await.len(), 2);
    assert_eq!(directory.asked.load(Ordering::Relaxed), asked, "remembered");

    let forward = Origin::Forward(Address::parse("ann@example.org").unwrap());
    assert_eq!(signers(&signer, forward.clone(), "ceo@example.org").await.len(), 0, "it may be forged");
    assert_eq!(signers(&signer, forward, "bob@remote.example").await.len(), 2);

    directory.keys.lock().unwrap().retain(|key| key.selector.as_str() == "r");
    directory.changes.send_replace(1);
    assert_eq!(signers(&signer, account(), "ann@example.org").await, ["r@example.org"], "a change is seen at once");

    directory.keys.lock().unwrap()[0].private = PrivateKey::new(vec![1]);
    directory.changes.send_replace(2);
    assert_eq!(signers(&signer, account(), "ann@example.org").await.len(), 0, "mail leaves with a broken key too");
}

#[test]
fn headers_and_bodies_of_any_shape_are_hashed_alike() {
    let seeds: [&[u8]; 3] = [
        b"\x01From: Ann <ann@example.org>, \"b\" <b@example.org>\r\nSubject:  a \t b\r\n\t c \r\nTo :x\r\n\r\n",
        b"\x07 a  b\t\r\n\r\n \r\nc \r\n\r\n\r\n",
        b"\x03From: friends: a@example.org, b@example.org;\r\nfrom: x\r\n",
    ];
    mutated(&seeds, 8000, crate::fuzz::fuzz_dkim);
}
