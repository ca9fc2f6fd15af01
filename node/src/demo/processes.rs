//! The demo's processes: started, watched, stopped together.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use super::files::DemoNode;

/// A node has so long to be ready: the last one waits for its replicas.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// And so long to drain.
const STOP_PATIENCE: Duration = Duration::from_secs(50);
/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The processes that run.
pub(super) struct Processes {
    directory: PathBuf,
    /// Where mail to others goes instead of into the world.
    sink: Option<SocketAddr>,
    running: Vec<(DemoNode, Child)>,
}

impl Processes {
    pub(super) fn new(directory: &Path, sink: Option<SocketAddr>) -> Self {
        Self { directory: directory.to_owned(), sink, running: Vec::new() }
    }

    /// Starts a node.
    pub(super) fn spawn(&mut self, node: DemoNode) -> anyhow::Result<()> {
        self.ready_files(node).iter().for_each(|file| drop(fs::remove_file(file)));
        let log = node.log(&self.directory);
        let log = fs::OpenOptions::new().create(true).append(true).open(&log);
        let log = log.with_context(|| format!("{}", node.log(&self.directory).display()))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("--config").arg(node.file(&self.directory));
        if let Some(sink) = self.sink {
            command.arg("--sink").arg(sink.to_string());
        }
        // A group of its own: a terminal's Ctrl-C is for the demo, which tells them once.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{} cannot be started", node.name))?;
        self.running.push((node, child));
        Ok(())
    }

    /// What a node writes when it is ready: a store in its data directory, a gateway beside its token.
    fn ready_files(&self, node: DemoNode) -> [PathBuf; 2] {
        let folder = node.folder(&self.directory);
        [folder.join("data/addresses.json"), folder.join("addresses.json")]
    }

    /// Waits until a node that was started is ready.
    pub(super) async fn await_ready(&mut self, node: DemoNode) -> anyhow::Result<()> {
        let files = self.ready_files(node);
        let log = node.log(&self.directory).display().to_string();
        let found = self.running.iter_mut().find(|(running, _)| *running == node);
        let (_, child) = found.with_context(|| format!("{} was not started", node.name))?;
        let start = Instant::now();
        while !files.iter().any(|file| file.exists()) {
            if let Some(status) = child.try_wait()? {
                let name = node.name;
                bail!("{name} ended ({status}); {log} says why. If its ports are taken, change them in its node.toml");
            }
            if start.elapsed() > START_PATIENCE {
                bail!("{} is not ready after {START_PATIENCE:?}; look at {log}", node.name);
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// How a node is started by hand.
    pub(super) fn command(&self, node: DemoNode) -> String {
        let sink = self.sink.map(|sink| format!(" --sink {sink}")).unwrap_or_default();
        format!("securanet run{sink} --config {}", node.file(&self.directory).display())
    }

    /// The id of a node's process.
    pub(super) fn id(&self, node: DemoNode) -> u32 {
        let found = self.running.iter().find(|(running, _)| *running == node);
        found.and_then(|(_, child)| child.id()).unwrap_or(0)
    }

    /// Watches until a signal comes, then stops all.
    pub(super) async fn until_stopped(mut self) -> anyhow::Result<()> {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                () = sleep(LOOK) => self.look()?,
            }
        }
        println!("stopping");
        for (_, child) in &self.running {
            let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            // One that has just ended need not be told.
            id.map(|id| kill_process(id, Signal::TERM).ok());
        }
        for (node, child) in &mut self.running {
            if timeout(STOP_PATIENCE, child.wait()).await.is_err() {
                println!("{} did not stop in time and is killed; what was acknowledged is durable", node.name);
            }
        }
        Ok(())
    }

    /// Tells of those that have ended.
    fn look(&mut self) -> anyhow::Result<()> {
        let mut at = 0;
        while let Some((node, child)) = self.running.get_mut(at) {
            let node = *node;
            match child.try_wait()? {
                None => at += 1,
                Some(status) => {
                    let file = node.file(&self.directory);
                    println!(
                        "{} is gone ({status}). Bring it back: securanet run --config {}",
                        node.name,
                        file.display()
                    );
                    self.running.remove(at);
                }
            }
        }
        Ok(())
    }
}
