//! The texts of the menu, the help and the prompts.

use crate::protocol::action::Connection;

/// Before a command.
pub(super) const PROMPT: &str = "floodplain> ";

/// The menu in one line. What 1 does depends on the connection.
pub(super) fn menu(connection: Connection) -> String {
    let toggle = match connection {
        Connection::Connected | Connection::Reconnecting | Connection::Revoked => "Disconnect",
        Connection::Disconnected => "Connect",
    };
    format!(
        "[1] {toggle} [2] Upload file [3] Download file [4] Print attributes [5] Search [6] Peers & zones \
         [7] Transfers [8] Shares [9] Inbox [0] Quit"
    )
}

/// Every command in one line each.
pub(super) fn help() -> Vec<String> {
    [
        ("1, disconnect, connect", "leave the network and keep running, or join again"),
        ("2, send FILE PEER", "upload a file: into a peer's inbox, or `network` keeps it"),
        ("put FILE [COPIES], puts, unput NAME", "have the network keep a file, list these, take one back"),
        (
            "3, get [--priority high] WHAT.. [to PLACE]",
            "download hits by number, a content hash or PEER:PATH",
        ),
        ("4, status", "print this peer's attributes"),
        ("5, search [--all] [--ttl N] WORDS", "search the zone, or all zones"),
        ("save NAME [--all] WORDS", "search, and be told of what is found later"),
        ("saved [run NAME | rm NAME]", "list, run or remove saved searches"),
        ("6, peers [ZONE], zones", "list peers and zones"),
        ("browse PEER[:FOLDER]", "list what a peer shares"),
        ("7, transfers", "list transfers"),
        ("pause | resume | retry | cancel NUMBER", "pause, resume, retry, cancel a transfer; `all` for all"),
        ("priority NUMBER high | normal | low", "let a download begin before or after the others"),
        ("8, shares [add FOLDER | rm NAME], rescan", "list, add, remove or rescan shares"),
        ("9, inbox, accept | decline | trust NUMBER", "list offers and answer them"),
        ("0, quit", "quit; so does Ctrl-C twice"),
        ("in a shell: floodplain top", "watch this peer on the whole screen"),
        ("in a shell: floodplain doctor", "look for what is wrong, and what to do about it"),
    ]
    .iter()
    .map(|(command, what)| format!("{command:<43}{what}"))
    .collect()
}
