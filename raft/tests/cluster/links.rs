//! Links between nodes that can be slowed down and cut: a relay on loopback for each pair and direction.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

/// How a link is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    /// One way.
    pub(crate) delay: Duration,
    /// Connections break, and none can be made.
    pub(crate) cut: bool,
    /// A connection breaks after so many octets towards the target.
    pub(crate) breaks_after: Option<u64>,
    /// Each connection and direction carries so much.
    pub(crate) bytes_per_second: Option<u64>,
}

/// One link: from a node to another, the answers included.
pub(crate) struct Link {
    quality: watch::Sender<Quality>,
    target: Mutex<Option<SocketAddr>>,
    /// Octets in both directions.
    pub(crate) bytes: AtomicU64,
}

/// All links, by the nodes' names.
#[derive(Clone, Default)]
pub(crate) struct Links(Arc<Mutex<HashMap<Pair, Arc<Link>>>>);

/// From which node to which.
type Pair = (String, String);

impl Links {
    pub(crate) fn link(&self, from: &str, to: &str) -> Arc<Link> {
        let mut links = self.0.lock().unwrap();
        let new = || {
            let quality = watch::Sender::new(Quality::default());
            Arc::new(Link { quality, target: Mutex::new(None), bytes: AtomicU64::new(0) })
        };
        links.entry((from.to_owned(), to.to_owned())).or_insert_with(new).clone()
    }

    /// Where a node listens from now on.
    pub(crate) fn listens(&self, node: &str, others: &[String], address: SocketAddr) {
        for other in others {
            *self.link(other, node).target.lock().unwrap() = Some(address);
        }
    }

    /// Changes all links from and to a node.
    pub(crate) fn around(&self, node: &str, change: impl Fn(&mut Quality)) {
        for (_, link) in self.0.lock().unwrap().iter().filter(|((from, to), _)| from == node || to == node) {
            link.quality.send_modify(&change);
        }
    }

    /// Changes one link: what a node asks of another, and the answers.
    pub(crate) fn between(&self, from: &str, to: &str, change: impl Fn(&mut Quality)) {
        self.link(from, to).quality.send_modify(change);
    }

    pub(crate) fn all(&self, change: impl Fn(&mut Quality)) {
        self.0.lock().unwrap().values().for_each(|link| link.quality.send_modify(&change));
    }

    /// Octets that went over all links, by pair.
    pub(crate) fn bytes(&self) -> HashMap<Pair, u64> {
        let links = self.0.lock().unwrap();
        links.iter().map(|(pair, link)| (pair.clone(), link.bytes.load(Ordering::SeqCst))).collect()
    }
}

/// Relays one node's connections over a link, as long as the task lives.
pub(crate) async fn relay(link: Arc<Link>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            connections.spawn(connection(link.clone(), socket));
            while connections.try_join_next().is_some() {}
        }
    });
    (address, task)
}

async fn connection(link: Arc<Link>, near: TcpStream) {
    let mut quality = link.quality.subscribe();
    let target = *link.target.lock().unwrap();
    let (false, Some(target)) = (quality.borrow().cut, target) else { return };
    let Ok(far) = TcpStream::connect(target).await else { return };
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = pipe(&link, near_read, far_write, true) => {}
        _ = pipe(&link, far_read, near_write, false) => {}
        _ = quality.wait_for(|quality| quality.cut) => {}
    }
}

async fn pipe(link: &Link, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, forward: bool) -> io::Result<()> {
    let (sender, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let mut passed = 0;
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Err::<(), _>(io::ErrorKind::UnexpectedEof.into());
            }
            passed += length as u64;
            link.bytes.fetch_add(length as u64, Ordering::SeqCst);
            let quality = *link.quality.borrow();
            if forward && quality.breaks_after.is_some_and(|most| passed > most) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if let Some(most) = quality.bytes_per_second {
                tokio::time::sleep(Duration::from_secs_f64(length as f64 / most as f64)).await;
            }
            let _ = sender.send((Instant::now() + quality.delay, buffer[..length].to_vec())).await;
        }
    };
    let write = async {
        while let Some((at, bytes)) = waiting.recv().await {
            tokio::time::sleep_until(at).await;
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = read => ended,
        ended = write => ended,
    }
}
