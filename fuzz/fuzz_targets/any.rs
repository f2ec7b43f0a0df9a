//! libFuzzer's door to every target: `FLOODPLAIN_FUZZ_TARGET` names the one that is meant, `list` prints their names.
#![no_main]

use std::sync::OnceLock;

use floodplain_fuzz::{Target, target, targets};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn choose() -> Target {
    let name = std::env::var("FLOODPLAIN_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        targets().for_each(|(name, _)| println!("{name}"));
        std::process::exit(i32::from(name != "list"));
    })
}

fuzz_target!(init: { CHOSEN.get_or_init(choose); }, |data: &[u8]| CHOSEN.get_or_init(choose)(data));
