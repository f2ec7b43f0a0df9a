//! Where tables go: to the screen, and into `docs/SIMULATION.md` between the marks of that name, with charts beside it.

use std::{fs, path::PathBuf};

/// Collects a run.
pub struct Paper {
    docs: PathBuf,
}

/// A table in Markdown.
pub struct Table {
    lines: Vec<String>,
}

impl Table {
    /// Columns that begin with `<` are of text.
    pub fn new(columns: &[&str]) -> Self {
        let names: Vec<&str> = columns.iter().map(|name| name.trim_start_matches('<')).collect();
        let kinds: Vec<&str> =
            columns.iter().map(|name| if name.starts_with('<') { "---" } else { "---:" }).collect();
        Self { lines: vec![format!("| {} |", names.join(" | ")), format!("|{}|", kinds.join("|"))] }
    }

    pub fn row(&mut self, cells: &[String]) {
        self.lines.push(format!("| {} |", cells.join(" | ")));
    }
}

impl Paper {
    pub fn new() -> Self {
        Self { docs: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs") }
    }

    /// Prints a table and what stands below it, and puts both in their place.
    pub fn put(&self, name: &str, table: &Table, below: &str) {
        let text = format!("{}\n\n{below}\n", table.lines.join("\n"));
        println!("{text}");
        let path = self.docs.join("SIMULATION.md");
        let Ok(page) = fs::read_to_string(&path) else { return };
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let place = page.find(&begin).map(|at| at + begin.len());
        let place = place.and_then(|from| Some((from, from + page[from..].find(&end)?)));
        let Some((from, to)) = place else {
            eprintln!("docs/SIMULATION.md has no place for {name}");
            return;
        };
        write(&path, &format!("{}\n{text}\n{}", &page[..from], &page[to..]));
    }

    pub fn chart(&self, name: &str, svg: &str) {
        let folder = self.docs.join("simulation");
        if let Err(error) = fs::create_dir_all(&folder) {
            eprintln!("could not make {}: {error}", folder.display());
        }
        write(&folder.join(name).with_extension("svg"), svg);
    }
}

fn write(path: &std::path::Path, text: &str) {
    if let Err(error) = fs::write(path, text) {
        eprintln!("could not write {}: {error}", path.display());
    }
}
