//! The command line: arguments to one call, and its end to an exit code.

pub mod admin;
pub mod args;
mod daemon;
mod demo;
pub mod doctor;
pub mod exit;
pub mod health;
mod join;
pub mod json;
pub mod log;
mod man;
pub mod network;
pub mod output;
mod progress;
pub mod put;
pub mod search;
pub mod searches;
pub mod share;
mod top;
pub mod transfer;
mod up;
mod web;

use std::{future::Future, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser};
use tokio::runtime::{Builder, Runtime};

use self::{
    args::{Cli, Global, HealthArgs, LogArgs, Verb, WebArgs},
    exit::{Ended, Failure},
    output::{Output, Style},
};
use crate::{
    config::{LogSettings, Raw, SettingsError, Sources, table},
    peer::{control, remote},
    protocol::action::{ActionError, ErrorKind},
    shutdown,
    telemetry::{self, Sink},
};

/// Runs the program. Settings are read and logging starts before any runtime does.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way as well, with exit code 0. A closed pipe is nobody's loss.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2).into();
        }
    };
    let mut out = Output::of_process(Style::of_process(&cli.global));
    if cli.verb.writes_bytes() {
        out.keep_for_bytes();
    }
    let ended = run(cli, &mut out);
    telemetry::finish();
    out.finish(ended).into()
}

fn run(cli: Cli, out: &mut Output) -> Ended {
    let Cli { global, verb } = cli;
    match verb {
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "floodplain", &mut script);
            out.bytes(&script).map(|()| exit::Exit::Done)
        }
        Verb::Man { dir } => man::man(dir.as_deref(), out),
        Verb::Up(args) => up::up(&global, &args, out),
        Verb::Join(args) => join::join(&global, &args, out),
        Verb::Invite(_) | Verb::Revoke { .. } | Verb::Members | Verb::Authority { .. } => {
            ask_registry(&global, &verb, out)
        }
        Verb::Web(args) => ask_web(&global, args, out),
        Verb::Registry(args) => daemon::registry(&global, &args, out),
        Verb::Peer(args) => daemon::peer(&global, &args, out),
        Verb::Console => daemon::console(&global),
        Verb::Top => top::top(&global, out),
        Verb::Doctor => doctor::doctor(&global, out),
        Verb::Demo(args) => demo::demo(&global, &args, out),
        Verb::Health(args) => ask_health(&global, &args, out),
        Verb::Log(args) => ask_log(&global, &args, out),
        verb => one_shot(&global, &verb, out),
    }
}

/// Reads the settings, those of flags first.
fn read_settings(global: &Global, flags: Vec<(&'static str, String)>) -> Result<Raw, Failure> {
    let mut flags = flags;
    flags.extend(global.data.clone().map(|folder| (table::DATA, folder)));
    let sources = Sources::of_process(flags, global.env_file.clone())
        .map_err(|error| Failure::failed(format!("the working folder cannot be used: {error}")))?;
    Raw::read(&sources).map_err(refused)
}

/// For `map_err` on settings.
#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn refused(error: SettingsError) -> Failure {
    ActionError::new(ErrorKind::Usage, error.to_string()).hint("all settings are in .env.example").into()
}

/// Starts logging. `-v` and `-q` stand before the setting, and `default` behind it.
fn start_logs(global: &Global, raw: &Raw, default: &str, sink: Sink<'_>) -> Result<(), Failure> {
    let mut settings = LogSettings::from_raw(raw).map_err(refused)?;
    let louder = match (default, global.verbose) {
        (_, 0) => None,
        ("info", 1) | (_, 2) => Some("debug"),
        (_, 1) => Some("info"),
        _ => Some("trace"),
    };
    let quieter = (global.quiet && default != "off").then_some("error");
    if let Some(filter) = louder.or(quieter) {
        filter.clone_into(&mut settings.filter);
    } else if !settings.is_filter_set {
        default.clone_into(&mut settings.filter);
    }
    #[cfg(feature = "otlp")]
    if default != "info" {
        // A verb that asks a daemon begins no query itself.
        settings.otlp_endpoint = None;
    }
    telemetry::init(&settings, sink).map_err(|error| Failure::failed(format!("{error:#}")))
}

/// A verb that asks the running peer of this user.
fn one_shot(global: &Global, verb: &Verb, out: &mut Output) -> Ended {
    let raw = read_settings(global, Vec::new())?;
    start_logs(global, &raw, "warn", Sink::Stderr)?;
    let socket = control::socket_path(&raw.data().map_err(refused)?);
    let work = async {
        let peer = &remote::connect(&socket).await?;
        match verb {
            Verb::Search(args) => search::search(peer, out, args).await,
            Verb::Searches { action } => searches::searches(peer, out, action.as_ref()).await,
            Verb::Get(args) => transfer::get(peer, out, args).await,
            Verb::Send(args) => transfer::send(peer, out, args, global.yes).await,
            Verb::Put(args) => put::put(peer, out, args).await,
            Verb::Puts => put::puts(peer, out).await,
            Verb::Unput { target } => put::unput(peer, out, target).await,
            Verb::Transfers { action } => transfer::transfers(peer, out, action.as_ref()).await,
            Verb::Browse { path } => network::browse(peer, out, path).await,
            Verb::Peers { zone } => network::peers(peer, out, *zone).await,
            Verb::Zones { watch } => network::zones(peer, out, *watch).await,
            Verb::Status => network::status(peer, out).await,
            Verb::Share { action } => share::share(peer, out, action.as_ref()).await,
            Verb::Inbox { action } => share::inbox(peer, out, action.as_ref(), global.yes).await,
            _ => unreachable!("`run` has taken every verb that needs no running peer"),
        }
    };
    to_its_end(work, global.timeout)
}

/// A verb that asks the registry of this user.
fn ask_registry(global: &Global, verb: &Verb, out: &mut Output) -> Ended {
    let raw = read_settings(global, Vec::new())?;
    start_logs(global, &raw, "warn", Sink::Stderr)?;
    let data = raw.data().map_err(refused)?;
    let work = async {
        match verb {
            Verb::Invite(args) => admin::invite(&data, out, args).await,
            Verb::Revoke { peer } => admin::revoke(&data, out, peer, global.yes).await,
            Verb::Members => admin::members(&data, out).await,
            Verb::Authority { action } => admin::authority(&data, out, action.as_ref(), global.yes).await,
            _ => unreachable!("`run` gives only those"),
        }
    };
    to_its_end(work, global.timeout)
}

fn ask_health(global: &Global, args: &HealthArgs, out: &mut Output) -> Ended {
    let raw = read_settings(global, Vec::new())?;
    start_logs(global, &raw, "error", Sink::Stderr)?;
    let daemon = health::Daemon::find(&raw, args.addr.as_deref())?;
    to_its_end(health::health(out, &daemon, args), Some(global.timeout.unwrap_or(health::DEADLINE)))
}

fn ask_log(global: &Global, args: &LogArgs, out: &mut Output) -> Ended {
    let raw = read_settings(global, Vec::new())?;
    start_logs(global, &raw, "warn", Sink::Stderr)?;
    let data = raw.data().map_err(refused)?;
    to_its_end(log::log(&data, out, args), global.timeout)
}

fn ask_web(global: &Global, args: WebArgs, out: &mut Output) -> Ended {
    let raw = read_settings(global, Vec::new())?;
    start_logs(global, &raw, "warn", Sink::Stderr)?;
    let data = raw.data().map_err(refused)?;
    to_its_end(web::web(&data, out, args), global.timeout)
}

/// Runs one verb until it ends, its time is over, or it is interrupted; then it is dropped, which cancels what it asked.
fn to_its_end(work: impl Future<Output = Ended>, timeout: Option<Duration>) -> Ended {
    let runtime = runtime(Builder::new_current_thread())?;
    let ended = to_its_end_in(&runtime, work, timeout);
    // A thread may still wait for an answer on stdin.
    runtime.shutdown_background();
    ended
}

fn to_its_end_in<T>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T, Failure>>,
    timeout: Option<Duration>,
) -> Result<T, Failure> {
    runtime.block_on(async {
        let late = async {
            match timeout {
                Some(span) => tokio::time::sleep(span).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = work => ended,
            signal = shutdown::signal() => Err(match signal {
                Ok(()) => ActionError::new(ErrorKind::Cancelled, "interrupted").into(),
                Err(error) => Failure::failed(format!("could not listen for signals: {error}")),
            }),
            () = late => {
                let span = humantime::format_duration(timeout.unwrap_or_default());
                Err(ActionError::new(ErrorKind::TimedOut, format!("gave up after {span}")).into())
            }
        }
    })
}

fn runtime(mut builder: Builder) -> Result<Runtime, Failure> {
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("could not start the runtime: {error}")))
}
