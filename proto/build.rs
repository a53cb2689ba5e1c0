//! Compiles `external_auth.proto` with protox, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["external_auth.proto"], ["proto"])?;
    tonic_prost_build::configure().build_client(true).build_transport(false).bytes(".").compile_fds(files)?;
    Ok(())
}
