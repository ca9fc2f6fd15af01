//! What goes over the links between nodes: nothing much when nothing happens, and text mail in less than its size.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use securanet_model::{
    Command, GroupId,
    content::{NewMessage, Sealed},
    delivery::{Deliver, QuotaRule},
};

use crate::{nodes::Cluster, support::*};

/// Octets over all links since `before`, in both directions together, by pair of nodes.
fn crossed(cluster: &Cluster, before: &BTreeMap<(String, String), u64>) -> BTreeMap<(String, String), u64> {
    let mut pairs: BTreeMap<(String, String), u64> = BTreeMap::new();
    for ((from, to), bytes) in cluster.links.bytes() {
        let pair = if from < to { (from, to) } else { (to, from) };
        *pairs.entry(pair).or_default() += bytes;
    }
    pairs.iter_mut().for_each(|(pair, bytes)| *bytes -= before.get(pair).copied().unwrap_or_default());
    pairs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_links_are_quiet_and_nobody_campaigns_meanwhile() {
    // As many groups as a node has unless somebody says otherwise.
    let cluster = Cluster::start(3, 3, |settings| settings.groups = (0..=8).map(GroupId::new).collect()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let terms = |cluster: &Cluster| {
        let all = cluster.status().into_iter().flatten();
        all.map(|group| (group.group, group.replica, group.term)).collect::<Vec<_>>()
    };
    let (before, terms_before) = (crossed(&cluster, &BTreeMap::new()), terms(&cluster));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (mut pairs, terms_after) = (crossed(&cluster, &before), terms(&cluster));
    assert_eq!(terms_before, terms_after, "an election without need");
    pairs.values_mut().for_each(|bytes| *bytes /= 5);
    println!("idle octets per second, both directions, 9 groups: {pairs:?}");
    assert!(pairs.values().all(|bytes| *bytes < IDLE_BYTES_MAX), "{pairs:?}");
    assert!(pairs.values().any(|bytes| *bytes > 0), "no heartbeats at all");
}

/// Promised are 2 KB a second.
const IDLE_BYTES_MAX: u64 = 2048;
/// Octets on a link for one of mail, whose words follow each other at random: such text does not shrink below half its size
/// itself. Of real text, which is what the promise of 0.5 is about, less is left.
const SHARE_MAX: f64 = 0.65;

const WORDS: &str = "the of and to in a is that for it as was with be by on not he his but at are this have from or had \
    an they which one you were all her she there would their we him been has when who will no more if out so up said \
    what its about than into them can only other time new some could these two may first then do any like my now over \
    such our man me even most made after also did many off before must well back through years where much your way \
    down should because long each just state those people too mister how little good world make very year still see \
    work men day get here old life both between being under three never know same last another while us might great \
    go come since against right came take used himself few house use during without again place american around \
    however home small found mrs thought went say part once general high upon school every meeting report invoice \
    customer project budget quarter schedule deadline attached regards";

/// A letter between colleagues: what it is on the wire, and what of it an entry carries.
fn letter(number: u64) -> (usize, NewMessage) {
    let mut random = Random::new(number + 77);
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let word = |random: &mut Random| words[random.below(words.len() as u64) as usize];
    let hex = |random: &mut Random| format!("{:016x}", random.next());
    let (from, to) = (random.below(40), random.below(40));
    let subject: Vec<_> = (0..5).map(|_| word(&mut random)).collect();
    let signature: String = (0..12).map(|_| hex(&mut random)).collect();
    let head = format!(
        "Received: from mail-{from}.example.org (mail-{from}.example.org [192.0.2.{from}])\r\n\tby mx1.example.net \
         with ESMTPS id {};\r\n\tMon, 23 Nov 2026 10:{:02}:{:02} +0000\r\nDKIM-Signature: v=1; a=rsa-sha256; \
         d=example.org; s=k1; h=from:to:subject:date:message-id;\r\n\tb={signature}\r\nFrom: User {from} \
         <user-{from}@example.org>\r\nTo: User {to} <user-{to}@example.net>\r\nSubject: {}\r\nDate: Mon, 23 Nov 2026 \
         10:00:00 +0000\r\nMessage-ID: <{}@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; \
         charset=utf-8\r\n\r\n",
        hex(&mut random),
        random.below(60),
        random.below(60),
        subject.join(" "),
        hex(&mut random),
    );
    let length = 100 + random.below(500);
    let body: Vec<_> = (0..length).map(|_| word(&mut random)).collect();
    let text = head + &body.join(" ");
    let packed = zstd::bulk::compress(text.as_bytes(), 1).unwrap();
    let summary =
        format!("user-{from}@example.org user-{to}@example.net {} {}", subject.join(" "), &body[..20].join(" "));
    let message = NewMessage {
        size_bytes: text.len() as u64,
        recipe: Sealed::plain(1, packed),
        summary: Sealed::plain(1, zstd::bulk::compress(summary.as_bytes(), 1).unwrap()),
        ..message(number, &[])
    };
    (text.len(), message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_mail_takes_less_than_its_size_on_each_link() {
    const LETTERS: u64 = 1000;
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let groups = &cluster.nodes[&cluster.leader(1).await].groups;
    let before = crossed(&cluster, &BTreeMap::new());
    let started = std::time::Instant::now();
    let sizes = stream::iter(10..10 + LETTERS).map(|number| async move {
        let (size, message) = letter(number);
        let to = vec![deliver_to(7)];
        let command = Command::Deliver(Deliver { key: None, message, to, quota: QuotaRule::Enforced });
        run(groups, execute(1, number, vec![command])).await.unwrap();
        size as u64
    });
    let mail: u64 = sizes.buffer_unordered(10).collect::<Vec<_>>().await.into_iter().sum();
    cluster.check_equal().await;
    let pairs = crossed(&cluster, &before);
    #[allow(clippy::cast_precision_loss, reason = "a few megabytes")]
    let share = *pairs.values().max().unwrap() as f64 / mail as f64;
    println!(
        "{LETTERS} letters, {mail} octets, in {:?}: {share:.3} octets on a link for each, {pairs:?}",
        started.elapsed()
    );
    assert!(share < SHARE_MAX, "{share}: {pairs:?}");
}
