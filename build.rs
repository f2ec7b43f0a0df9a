//! Compiles `proto/` with protox, so that no `protoc` is needed on the machine.

use std::{env, error::Error, fs, path::PathBuf};

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
    Ok(())
}
