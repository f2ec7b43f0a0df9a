//! `share` and `inbox`: what this peer offers, and what others offer to it.

use std::path;

use super::{
    args::{InboxAction, ShareAction},
    exit::{Ended, Exit, Failure},
    json,
    output::{Output, size},
};
use crate::{
    peer::Handle,
    protocol::{
        action::{Answer, ShareInfo},
        name::Printable,
    },
};

/// Lists or changes the shares.
pub async fn share(peer: &Handle, out: &mut Output, action: Option<&ShareAction>) -> Ended {
    match action {
        None | Some(ShareAction::Ls) => {
            let shares = peer.shares().await?;
            print(out, &shares)?;
        }
        Some(ShareAction::Add { folder }) => {
            let folder = path::absolute(folder)
                .map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?;
            let share = peer.add_share(folder).await?;
            print(out, &[share])?;
        }
        Some(ShareAction::Rm { name }) => {
            peer.remove_share(name.clone()).await?;
            done(
                out,
                format_args!("{} is no longer offered; its files stay where they are", Printable(name)),
            )?;
        }
        Some(ShareAction::Rescan) => {
            let index = peer.rescan().await?;
            if out.style.json {
                out.json(&json::index(index))?;
            } else {
                out.note(format_args!("{} files, {}", index.files, size(index.bytes)));
            }
        }
    }
    Ok(Exit::Done)
}

fn print(out: &mut Output, shares: &[ShareInfo]) -> Result<(), Failure> {
    if out.style.json {
        return shares.iter().try_for_each(|share| out.json(&json::share(share)));
    }
    let is_rich = out.style.is_rich;
    let rows = shares.iter().map(|share| {
        let size = if is_rich { size(share.bytes) } else { share.bytes.to_string() };
        let folder = share.folder.to_string_lossy().into_owned();
        let problem = share.problem.clone().unwrap_or_default();
        [share.name.clone(), share.kind.name().into(), share.files.to_string(), size, folder, problem]
    });
    out.table(["name", "kind", "files", "size", "folder", "problem"], rows)
}

/// Lists or answers the offers.
pub async fn inbox(peer: &Handle, out: &mut Output, action: Option<&InboxAction>, is_yes: bool) -> Ended {
    let (id, answer, said) = match action {
        None => return list(peer, out).await,
        Some(InboxAction::Accept { id }) => (*id, Answer::Accept, "accepted"),
        Some(InboxAction::Decline { id, reason }) => (*id, Answer::Decline(reason.clone()), "declined"),
        Some(InboxAction::Trust { id }) => {
            out.confirm("Take every later file of this sender without asking?", is_yes).await?;
            (*id, Answer::Trust, "accepted, and its sender is trusted from now on")
        }
    };
    peer.answer_offer(id, answer).await?;
    done(out, format_args!("offer {id} is {said}"))?;
    Ok(Exit::Done)
}

async fn list(peer: &Handle, out: &mut Output) -> Ended {
    let inbox = peer.inbox().await?;
    if out.style.json {
        inbox.offers.iter().try_for_each(|offer| out.json(&json::Offer::from(offer)))?;
        out.json(&json::Inbox::from(&inbox))?;
        return Ok(Exit::Done);
    }
    let is_rich = out.style.is_rich;
    let rows = inbox.offers.iter().map(|offer| {
        let size = if is_rich { size(offer.size_bytes) } else { offer.size_bytes.to_string() };
        [offer.id.to_string(), offer.shown_sender(), size, offer.shown_name()]
    });
    out.table(["id", "sender", "size", "name"], rows)?;
    let folder = inbox.folder.to_string_lossy();
    out.note(format_args!("files arrive in {}; who may send: {}", Printable(&folder), inbox.policy.name()));
    Ok(Exit::Done)
}

/// Says that a change was made.
pub(super) fn done(out: &mut Output, message: impl std::fmt::Display) -> Result<(), Failure> {
    if out.style.json {
        return out.json(&json::Done {});
    }
    out.note(message);
    Ok(())
}
