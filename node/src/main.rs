//! The binary: command line, configuration, roles, wiring, telemetry, and the [`manual`].

mod addresses;
mod api;
mod backend;
mod check;
mod cli;
mod cluster;
mod commands;
mod config;
mod content;
mod delivery;
mod demo;
mod digest;
mod disk;
mod dkim;
mod forward;
mod front;
mod gateway_port;
mod init;
mod local_store;
mod maildir;
pub mod manual;
mod nodeport;
mod nodes;
mod overview;
mod own_addresses;
mod queue;
mod recover;
mod replace;
mod report;
mod roles;
mod run;
mod sending;
mod store_service;
mod survival;
mod telemetry;
mod tls_report;
mod transfer;

use std::{
    panic::{self, PanicHookInfo},
    process::{self, ExitCode},
};

use anyhow::Context;
use clap::Parser;

use crate::{
    api::AdminApi,
    cli::{Cli, Command},
    config::Config,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 128 and SIGPIPE, as shells count it.
const CLOSED_PIPE: i32 = 141;

/// What runs when something panics.
type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

fn main() -> ExitCode {
    // The allocator gives pages back and takes them again all the time. With transparent huge pages each that comes is
    // 2 MiB that the kernel clears first: a quarter of the CPU of deliveries of 50 KiB. A kernel that has no such switch
    // has no such pages.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    panic::set_hook(end_quietly_on_a_closed_pipe(panic::take_hook()));
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("securanet: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("securanet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads what we print may have enough of it (`securanet status | head`). Printing panics then; the process ends as
/// one that a signal would have ended, without a word.
fn end_quietly_on_a_closed_pipe(otherwise: Hook) -> Hook {
    Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to std") && said.contains("Broken pipe") {
            process::exit(CLOSED_PIPE);
        }
        otherwise(panic);
    })
}

async fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(cli::Run { target, sink }) => {
            let mut config = Config::load(&target.config)?;
            run::check(&config).with_context(|| target.config.display().to_string())?;
            if let Some(sink) = sink {
                config.delivery.stay_here(sink);
            }
            run::run(config).await
        }
        Command::Init(init) => init::init(&init),
        Command::CheckConfig(target) => {
            let config = Config::load(&target.config)?;
            run::check(&config).with_context(|| target.config.display().to_string())?;
            println!("{}: fine; {} listeners", target.config.display(), config.listener.len());
            Ok(())
        }
        Command::Demo(demo) => demo::demo(&demo.directory, demo.send).await,
        Command::Found(target) => cluster::join::found(&target.config),
        Command::Join { token, target } => cluster::join::join(&target.config, &token).await,
        Command::Node { action, target } => nodes::node(&AdminApi::of_node(&target.config)?, action).await,
        Command::Domain { action, target } => commands::domain(&AdminApi::of_node(&target.config)?, action).await,
        Command::TlsReport { action, target } => {
            tls_report::tls_report(&AdminApi::of_node(&target.config)?, action).await
        }
        Command::Dkim { action, target } => dkim::dkim(&AdminApi::of_node(&target.config)?, action).await,
        Command::Account { action, target } => commands::account(&AdminApi::of_node(&target.config)?, action).await,
        Command::Alias { action, target } => commands::alias(&AdminApi::of_node(&target.config)?, action).await,
        Command::Group { action: cli::Group::Recover(wish), target } => recover::recover(&target.config, &wish).await,
        Command::Group { action: cli::Group::Lists(action), target } => {
            commands::group(&AdminApi::of_node(&target.config)?, action).await
        }
        Command::Forward { action, target } => forward::forward(&AdminApi::of_node(&target.config)?, action).await,
        Command::Grant { action, target } => sending::grant(&AdminApi::of_node(&target.config)?, action).await,
        Command::Relay { action, target } => sending::relay(&AdminApi::of_node(&target.config)?, action).await,
        Command::Password { action, target } => commands::password(&AdminApi::of_node(&target.config)?, action).await,
        Command::Mailbox { action, target } => commands::mailbox(&AdminApi::of_node(&target.config)?, action).await,
        Command::Policy { action, target } => commands::policy(&AdminApi::of_node(&target.config)?, action).await,
        Command::Held { action, target } => commands::held(&AdminApi::of_node(&target.config)?, action).await,
        Command::Queue { action, target } => queue::queue(&AdminApi::of_node(&target.config)?, action).await,
        Command::Trace { message_id, to, json, target } => {
            let api = AdminApi::of_node(&target.config)?;
            match to {
                None => queue::trace(&api, &message_id, json).await,
                Some(to) => queue::trace_to(&api, &message_id, &to, json).await,
            }
        }
        Command::Status { json, target } => commands::status(&AdminApi::of_node(&target.config)?, json).await,
        Command::Scrub(target) => commands::scrub(&AdminApi::of_node(&target.config)?).await,
        Command::Digest { json, target } => digest::digest(&target.config, json),
        Command::Import(import) => transfer::import(import).await,
        Command::Export(export) => transfer::export(export).await,
    }
}
