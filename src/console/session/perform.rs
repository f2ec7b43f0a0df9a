//! What each command does, and what is asked for when an argument is missing.
//!
//! Invariant: whatever takes a while runs beside the prompt; only a short answer of the peer is waited for.

use std::sync::Arc;

use futures::future::abortable;

use super::{
    super::{
        ExitReason, Mode,
        act::absolute,
        menu,
        parse::{self, Command},
    },
    Session,
};
use crate::{
    peer::Handle,
    protocol::{
        action::{
            Answer, Connection, GetAsk, Priority, PutAsk, PutContent, SearchAsk, SendAsk, Target,
            TransferState,
        },
        placement::{DEFAULT_REPLICAS, MAX_REPLICAS},
    },
};

impl Session {
    pub(super) async fn perform(&mut self, command: Command) -> Result<(), ExitReason> {
        let acting = self.acting.clone();
        match command {
            Command::Quit => return Err(ExitReason::Quit),
            Command::Help => acting.screen.lines(menu::help()).await,
            Command::Menu => self.start(acting.menu()).await,
            Command::Toggle => {
                if let Some(status) = self.wait(acting.handle.status()).await? {
                    self.connect(status.connection == Connection::Disconnected).await?;
                }
            }
            Command::SetConnected(is_connected) => self.connect(is_connected).await?,
            Command::Upload { file, peer } => self.upload(file, peer).await?,
            Command::Put { file, replicas } => self.put(file, replicas).await?,
            Command::Puts => self.start(acting.puts()).await,
            Command::Unput(what) => {
                if let Some(what) = self.given(what, "name or hash to take back: ").await? {
                    self.start(acting.unput(what)).await;
                }
            }
            Command::Download { targets, destination, priority } => {
                self.download(targets, destination, priority).await?;
            }
            Command::Status => self.start(acting.status()).await,
            Command::Search(Some(ask)) => self.search(ask).await,
            Command::Search(None) => {
                if let Some(Some(ask)) = self.ask_for("search for: ", parse::search).await? {
                    self.search(ask).await;
                }
            }
            Command::Save { name, ask } => self.start(acting.save(name, ask)).await,
            Command::SavedSearches => self.start(acting.saved_searches()).await,
            Command::RunSaved(name) => {
                if let Some(name) = self.given(name, "name of the saved search: ").await? {
                    let saved = self.wait(acting.saved_search(&name)).await?;
                    if let Some(ask) = saved {
                        self.search(ask).await;
                    }
                }
            }
            Command::RemoveSaved(name) => {
                if let Some(name) = self.given(name, "name of the saved search: ").await? {
                    self.start(acting.remove_saved(name)).await;
                }
            }
            Command::Network => self.start(acting.network()).await,
            Command::Peers(zone) => self.start(acting.peers(zone)).await,
            Command::Zones => self.start(acting.zones()).await,
            Command::Browse(path) => {
                let path = match path {
                    Some(path) => Some(path),
                    None => self.ask_for("which peer, or PEER:FOLDER: ", parse::peer_path).await?,
                };
                if let Some(path) = path {
                    self.start(acting.browse(path)).await;
                }
            }
            Command::Transfers => self.start(acting.transfers()).await,
            Command::Control(which, control) => {
                let which = match which {
                    Some(which) => Some(which),
                    None => self.ask_for("number of the transfer, or all: ", parse::which).await?,
                };
                if let Some(which) = which {
                    self.start(acting.control_transfers(which, control)).await;
                }
            }
            Command::Shares => self.start(acting.shares()).await,
            Command::AddShare(folder) => {
                if let Some(folder) = self.given(folder, "folder to share: ").await? {
                    self.start(acting.add_share(absolute(&folder))).await;
                }
            }
            Command::RemoveShare(name) => {
                if let Some(name) = self.given(name, "name of the share: ").await? {
                    self.start(acting.remove_share(name)).await;
                }
            }
            Command::Rescan => self.start(acting.rescan()).await,
            Command::Inbox => self.start(acting.inbox()).await,
            Command::Answer(id, answer) => self.answer(id, answer).await?,
        }
        Ok(())
    }

    async fn given(&mut self, text: Option<String>, question: &str) -> Result<Option<String>, ExitReason> {
        match text {
            Some(text) => Ok(Some(text)),
            // One answer is one argument: quotes are taken off, but blanks need none.
            None => self.ask_for(question, |answer| Ok(unquoted(answer))).await,
        }
    }

    async fn number(&mut self, number: Option<u64>, question: &str) -> Result<Option<u64>, ExitReason> {
        match number {
            Some(number) => Ok(Some(number)),
            None => self.ask_for(question, parse::number).await,
        }
    }

    /// A new search takes the place of the one that runs.
    async fn search(&mut self, ask: SearchAsk) {
        let (search, handle) = abortable(self.acting.clone().search(ask));
        if let Some(before) = self.search.replace(handle) {
            before.abort();
        }
        self.start(async { _ = search.await }).await;
    }

    async fn upload(&mut self, file: Option<String>, peer: Option<String>) -> Result<(), ExitReason> {
        let Some(file) = self.given(file, "file to upload: ").await? else { return Ok(()) };
        let is_asked = peer.is_none();
        let Some(peer) = self.given(peer, "to which peer, or `network` to have it kept: ").await? else {
            return Ok(());
        };
        if is_asked && peer == "network" {
            return self.put(Some(file), None).await;
        }
        self.start(self.acting.clone().send(SendAsk { path: absolute(&file), peer })).await;
        Ok(())
    }

    async fn put(&mut self, file: Option<String>, replicas: Option<u64>) -> Result<(), ExitReason> {
        let Some(file) = self.given(file, "file that the network is to keep: ").await? else { return Ok(()) };
        let replicas = match replicas.map(usize::try_from) {
            None => DEFAULT_REPLICAS,
            Some(Ok(replicas)) if replicas <= MAX_REPLICAS => replicas,
            Some(_) => {
                self.complain(&format!("at most {MAX_REPLICAS} peers keep a file")).await;
                return Ok(());
            }
        };
        let ask = PutAsk { content: PutContent::Path(absolute(&file)), name: None, replicas };
        self.start(self.acting.clone().put(ask)).await;
        Ok(())
    }

    async fn download(
        &mut self,
        mut targets: Vec<Target>,
        destination: Option<String>,
        priority: Priority,
    ) -> Result<(), ExitReason> {
        if targets.is_empty() {
            let question = "number of a hit, content hash, or PEER:PATH: ";
            targets.extend(self.ask_for(question, |answer| parse::target(&unquoted(answer))).await?);
        }
        let destination = destination.as_deref().map(absolute);
        // What is fetched goes on when nobody looks at it any more.
        let ask = |target| GetAsk { target, destination: destination.clone(), priority, is_detached: true };
        let asks: Vec<GetAsk> = targets.into_iter().map(ask).collect();
        if !asks.is_empty() {
            let (followed, get) = (Arc::clone(&self.followed), self.acting.clone().get(asks));
            self.start(async move {
                get.await;
                drop(followed);
            })
            .await;
        }
        Ok(())
    }

    async fn answer(&mut self, id: Option<u64>, answer: Answer) -> Result<(), ExitReason> {
        if let Some(id) = self.number(id, "number of the offer: ").await? {
            self.start(self.acting.clone().answer(id, answer)).await;
        }
        Ok(())
    }

    /// Joins or leaves. A person is asked first when leaving would end transfers.
    async fn connect(&mut self, is_connected: bool) -> Result<(), ExitReason> {
        if !is_connected && self.mode != Mode::Pipe {
            let handle = Handle::clone(&self.acting.handle);
            let Some(transfers) = self.wait(handle.transfers()).await? else { return Ok(()) };
            let is_going = |state: &TransferState| !state.is_final() && *state != TransferState::Paused;
            let running = transfers.iter().filter(|transfer| is_going(&transfer.state)).count();
            if running > 0 {
                let question = format!("transfers that would end: {running}. Disconnect? [y/N] ");
                let answer = self.ask(&question).await?.unwrap_or_default().to_lowercase();
                if !["y", "yes"].contains(&answer.as_str()) {
                    self.acting.screen.line("still connected").await;
                    return Ok(());
                }
            }
        }
        self.start(self.acting.clone().set_connected(is_connected)).await;
        Ok(())
    }
}

fn unquoted(answer: &str) -> String {
    match parse::split(answer) {
        Ok(parts) if parts.len() == 1 => parts.into_iter().next().unwrap_or_default(),
        _ => answer.to_owned(),
    }
}
