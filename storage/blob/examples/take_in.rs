//! What taking one message in costs, in CPU: run it with `CARGO_PROFILE_DEV_OPT_LEVEL=3`.
//!
//! Prints microseconds per message (of the fastest of ten runs, because other programs only ever add to them) for
//! texts of several sizes, and what the log would carry of each, in octets. The texts are
//! prose of few words, headers as real servers write them. Nothing touches a disk below 16 KiB; above, the store is
//! in memory, so that only computing is measured.

use std::{sync::Arc, time::Instant};

use securanet_blob::{BlobError, BlobStore, ContentKeys, Intake, IntakeSettings, Reader};
use securanet_kv::memory::MemoryStore;
use securanet_model::{TenantId, UnixMillis, account::MessageContent, content::Sealed};

const TRACE: &str = "Received: from mail.sender.example (mail.sender.example [192.0.2.17])\r\n\tby mx.here.example with \
                     ESMTPS id 0193a5c2-7b1e-7c11-9d0a-2f4be1c0a001\r\n\t(TLS1.3 TLS_AES_256_GCM_SHA384);\r\n\t\
                     Fri, 21 Nov 2025 10:05:43 +0000\r\n";

fn message(number: u64, size_bytes: usize) -> Vec<u8> {
    let mut text = format!(
        "Received: from client.sender.example ([198.51.100.7])\r\n\tby mail.sender.example with ESMTPSA id {number:x};\r\n\
         \tFri, 21 Nov 2025 10:05:41 +0000\r\nMessage-ID: <{number}.4711@sender.example>\r\nDate: Fri, 21 Nov 2025 \
         10:05:40 +0000\r\nMIME-Version: 1.0\r\nUser-Agent: Mozilla Thunderbird\r\nFrom: \"Jane Q. Doe\" \
         <jane@sender.example>\r\nTo: John Smith <john@here.example>, ops@here.example\r\nCc: \"Smith, Ann\" \
         <ann@here.example>\r\nSubject: Minutes of meeting {number}\r\nIn-Reply-To: <{}.4711@here.example>\r\nReferences: \
         <1.1@here.example>\r\n <{}.4711@here.example>\r\nContent-Language: en-GB\r\nContent-Type: text/plain; \
         charset=UTF-8; format=flowed\r\nContent-Transfer-Encoding: 7bit\r\n\r\n",
        number - 1,
        number - 1,
    );
    let words =
        ["budget", "the", "of", "meeting", "moved", "to", "next", "Thursday", "please", "and", "review", "draft"];
    let mut noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < size_bytes {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[(noise >> 60) as usize % words.len()]);
        text.push_str(&format!("{:x}", noise >> 56));
        text.push_str(if (noise >> 40).is_multiple_of(11) { "\r\n" } else { " " });
    }
    text.truncate(size_bytes);
    text.into_bytes()
}

fn main() -> Result<(), BlobError> {
    let store = Arc::new(BlobStore::new(Arc::new(MemoryStore::new())));
    let intake = Intake::new(Arc::clone(&store), ContentKeys::new([7; 32]), IntakeSettings::default());
    println!("{:>10} {:>10} {:>8} {:>8}", "octets", "us each", "recipe", "summary");
    for (size_bytes, rounds) in [(1024, 2000), (4096, 2000), (15_000, 500), (50_000, 100)] {
        let messages: Vec<Vec<u8>> = (0..rounds * 10).map(|n| message(n + 1, size_bytes)).collect();
        let (mut recipe_bytes, mut summary_bytes, mut micros) = (0, 0, f64::INFINITY);
        for run in messages.chunks(rounds as usize) {
            let began = Instant::now();
            for message in run {
                let mut spool = intake.begin(TenantId::new(1), TRACE.into(), Some(message.len() as u64))?;
                spool.write(message)?;
                let ingested = spool.finish(UnixMillis::new(1_763_719_543_000))?;
                recipe_bytes += ingested.message.recipe.bytes.len();
                summary_bytes += ingested.message.summary.bytes.len();
            }
            micros = micros.min(began.elapsed().as_secs_f64() * 1e6 / run.len() as f64);
        }
        let count = messages.len();
        println!("{size_bytes:>10} {micros:>10.1} {:>8} {:>8}", recipe_bytes / count, summary_bytes / count);
    }
    attachment(&store, &intake)
}

/// One large attachment of octets that do not compress: taken in, then read back in ranges of 64 KiB.
fn attachment(store: &Arc<BlobStore>, intake: &Arc<Intake>) -> Result<(), BlobError> {
    const LINES: usize = 400_000;
    let mut noise = 1_u64;
    let mut message = b"Content-Transfer-Encoding: base64\r\n\r\n".to_vec();
    for _ in 0..LINES {
        for _ in 0..76 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            message.push(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(noise >> 58) as usize]);
        }
        message.extend_from_slice(b"\r\n");
    }
    let mebibytes = message.len() as f64 / 1_048_576.0;
    let began = Instant::now();
    let mut spool = intake.begin(TenantId::new(1), TRACE.into(), Some(message.len() as u64))?;
    message.chunks(65_536).try_for_each(|chunk| spool.write(chunk))?;
    let ingested = spool.finish(UnixMillis::new(1_763_719_543_000))?;
    println!(
        "an attachment of {mebibytes:.0} MiB is taken in at {:.0} MiB/s",
        mebibytes / began.elapsed().as_secs_f64()
    );
    let content = MessageContent {
        prefix: Sealed::plain(1, Vec::new()),
        prefix_size_bytes: 0,
        size_bytes: ingested.message.size_bytes,
        blobs: ingested.message.blobs.iter().map(|blob| blob.id).collect(),
        recipe: ingested.message.recipe,
    };
    let began = Instant::now();
    let reader = Reader::open(store, &content)?;
    let mut at = 0;
    while at < reader.size_bytes() {
        at += reader.read(at..at + 65_536)?.len() as u64;
    }
    println!("and read back at {:.0} MiB/s", mebibytes / began.elapsed().as_secs_f64());
    Ok(())
}
