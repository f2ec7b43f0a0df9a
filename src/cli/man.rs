//! `man`: the manual, made from what may be typed: one page, or a folder with one for every verb.

use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory};

use super::{
    args::Cli,
    exit::{Ended, Exit, failed},
    output::Output,
};

/// Name of the program, and of its page.
const PROGRAM: &str = "floodplain";

/// Prints the page of the program, or writes all pages into a folder.
pub(super) fn man(folder: Option<&Path>, out: &mut Output) -> Ended {
    let Some(folder) = folder else {
        return out.bytes(&page(&Cli::command())?).map(|()| Exit::Done);
    };
    let count = write_all(folder).map_err(|error| failed(&error))?;
    out.note(format_args!("wrote {count} pages to {}", folder.display()));
    Ok(Exit::Done)
}

/// One page of each verb that is not hidden, and of each verb below it: `floodplain-transfers-pause.1`.
fn write_all(folder: &Path) -> anyhow::Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let mut root = Cli::command();
    // Flags of every verb come to each page.
    root.build();
    let mut left = vec![(PROGRAM.to_owned(), root)];
    let mut count = 0;
    while let Some((name, command)) = left.pop() {
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
        left.extend(verbs.map(|verb| (format!("{name}-{}", verb.get_name()), verb.clone())));
        let path = folder.join(format!("{name}.1"));
        let page = page(&command.display_name(&name))?;
        std::fs::write(&path, page).with_context(|| format!("could not write {}", path.display()))?;
        count += 1;
    }
    Ok(count)
}

fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let version = concat!("floodplain ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone()).source(version).manual("Floodplain").render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = write_all(folder.path()).expect("writes");
        let verbs = Cli::command().get_subcommands().count();
        assert!(count > verbs, "{count} pages for {verbs} verbs and those below them");
        for name in ["floodplain", "floodplain-search", "floodplain-transfers-pause", "floodplain-log"] {
            let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).expect(name);
            assert!(page.contains(".TH") && page.contains(&name.replace('-', "\\-")), "{page}");
        }
    }
}
