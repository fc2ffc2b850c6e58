//! Compiles what all faces share; its `main` is called by ours.

fn main() {
    let bench = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../c");
    let sources = ["faces/main.c", "faces/blocks.c", "faces/cases.c", "result.c"].map(|name| bench.join(name));
    for source in &sources {
        println!("cargo:rerun-if-changed={}", source.display());
    }
    cc::Build::new()
        .files(&sources)
        .include(&bench)
        .define("_GNU_SOURCE", None)
        .define("main", "face_main")
        .std("gnu11")
        .opt_level(3)
        .compile("faces");
    println!("cargo:rustc-link-lib=m");
}
