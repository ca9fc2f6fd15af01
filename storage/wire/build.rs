//! Compiles the protobuf definitions with a compiler written in Rust, so that no protoc is needed.

/// Fields that carry content: taken out of what came without another copy.
const CONTENT: [&str; 4] = [
    ".securanet.store.v1.PutFrame.bytes",
    ".securanet.store.v1.Opened.head",
    ".securanet.store.v1.Chunk.bytes",
    ".securanet.replication.v1",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/store.proto", "proto/replication.proto", "proto/cluster.proto"], ["proto"])?;
    let content = CONTENT.iter().fold(tonic_prost_build::configure(), |builder, field| builder.bytes(field));
    content.compile_fds(files)?;
    Ok(())
}
