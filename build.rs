//! Compiles `proto/` with protox, so that no `protoc` is needed on the machine, and asks the linker for a small binary where it
//! is known to be able to.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const FILES: [&str; 6] = [
    "floodplain/v1/common.proto",
    "floodplain/v1/enrollment.proto",
    "floodplain/v1/registry.proto",
    "floodplain/v1/peer.proto",
    "floodplain/v1/control.proto",
    "floodplain/v1/log.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("floodplain.fds"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        // Payload passes through as reference-counted slices, not as copied vectors.
        .bytes(".")
        // Counts what a message holds before it is made.
        .codec_path("crate::wire::codec::BoundedCodec")
        .compile_fds(compiler.file_descriptor_set())?;

    shrink();
    Ok(())
}

/// What a release on Linux asks of its linker; see docs/adr/0024-a-small-program.md.
fn shrink() {
    let var = |name| env::var(name).unwrap_or_default();
    let is_native = var("TARGET") == var("HOST");
    if var("PROFILE") != "release" || var("CARGO_CFG_TARGET_ENV") != "gnu" || !is_native {
        return;
    }
    // The older loader does not know them.
    if libc_version().is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // Where the compiler brings lld it is what links, unless somebody chose another.
    let lld = Path::new("lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld");
    let is_default = var("RUSTC_LINKER").is_empty() && var("CARGO_ENCODED_RUSTFLAGS").is_empty();
    let brings_lld = || sysroot().is_some_and(|root| root.join(lld).exists());
    if var("TARGET") == "x86_64-unknown-linux-gnu" && is_default && brings_lld() {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}

fn libc_version() -> Option<(u32, u32)> {
    let answer = answer("getconf", &["GNU_LIBC_VERSION"])?;
    let (major, minor) = answer.strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn sysroot() -> Option<PathBuf> {
    answer(&env::var("RUSTC").ok()?, &["--print", "sysroot"]).map(PathBuf::from)
}

/// The one line that a program prints.
fn answer(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
