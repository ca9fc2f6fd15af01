//! A DNS server of a few questions, by UDP and TCP on a loopback port.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use hickory_resolver::proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

use super::signer::Signer;

/// What is answered to a question.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// `TYPE data` of the name asked for, or `name. TYPE data`.
    Records(Vec<String>),
    /// The same; where the server signs, the signatures are wrong.
    Forged(Vec<String>),
    Code(ResponseCode),
    Silence,
}

impl Answer {
    pub(crate) fn records(records: &[&str]) -> Self {
        Self::Records(records.iter().map(|record| (*record).to_owned()).collect())
    }

    pub(crate) fn forged(records: &[&str]) -> Self {
        Self::Forged(records.iter().map(|record| (*record).to_owned()).collect())
    }
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, Answer>,
    asked: HashMap<String, usize>,
    dead: bool,
    truncates_udp: bool,
    signer: Option<Arc<Signer>>,
}

/// The server. What nobody told it has no data.
pub(crate) struct Server {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let tasks = [tokio::spawn(serve_udp(udp, script.clone())), tokio::spawn(serve_tcp(tcp, script.clone()))];
        Self { address, script, tasks }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `question` is `name TYPE`.
    pub(crate) fn says(&self, question: &str, answer: Answer) {
        self.script.lock().answers.insert(question.to_owned(), answer);
    }

    pub(crate) fn is_dead(&self) {
        self.script.lock().dead = true;
    }

    pub(crate) fn lives(&self) {
        self.script.lock().dead = false;
    }

    pub(crate) fn truncates_udp(&self) {
        self.script.lock().truncates_udp = true;
    }

    /// Signs its answers as the root zone; what is below `unsigned.test` belongs to a zone that is not signed.
    pub(crate) fn signs(&self, signer: Arc<Signer>) {
        self.script.lock().signer = Some(signer);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self, question: &str) -> usize {
        self.script.lock().asked.get(question).copied().unwrap_or(0)
    }
}

async fn serve_udp(udp: UdpSocket, script: Arc<Mutex<Script>>) {
    let mut buffer = [0; 4096];
    while let Ok((octets, from)) = udp.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..octets], &script, true) {
            let _ = udp.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(tcp: TcpListener, script: Arc<Mutex<Script>>) {
    while let Ok((stream, _)) = tcp.accept().await {
        tokio::spawn(serve_stream(stream, script.clone()));
    }
}

async fn serve_stream(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    while let Ok(octets) = stream.read_u16().await {
        let mut question = vec![0; octets.into()];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let Some(answer) = answer(&question, &script, false) else { continue };
        let _ = stream.write_u16(u16::try_from(answer.len()).unwrap()).await;
        let _ = stream.write_all(&answer).await;
    }
}

fn answer(question: &[u8], script: &Mutex<Script>, udp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let name = query.name().to_ascii().to_ascii_lowercase();
    let name = if name == "." { &name } else { name.trim_end_matches('.') };
    let key = format!("{name} {}", query.query_type());
    let mut script = script.lock();
    *script.asked.entry(key.clone()).or_default() += 1;
    if script.dead {
        return None;
    }
    let mut reply = question.clone();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    match script.answers.get(&key) {
        Some(Answer::Silence) => return None,
        Some(Answer::Code(code)) => reply.metadata.response_code = *code,
        Some(Answer::Records(_)) if udp && script.truncates_udp => reply.metadata.truncation = true,
        Some(Answer::Records(records) | Answer::Forged(records)) => {
            for text in records {
                reply.add_answer(record(query.name(), text));
            }
        }
        None => {}
    }
    if let Some(signer) = &script.signer {
        signer.sign(&query, &mut reply, matches!(script.answers.get(&key), Some(Answer::Forged(_))));
    }
    reply.to_vec().ok()
}

fn record(asked: &Name, text: &str) -> Record {
    let (first, rest) = text.split_once(' ').unwrap();
    if first.ends_with('.') {
        return record(&Name::from_ascii(first).unwrap(), rest);
    }
    let kind: RecordType = first.parse().unwrap();
    Record::from_rdata(asked.clone(), 300, RData::try_from_str(kind, rest).unwrap())
}
