//! The face of nexar 0.2.0.  FACE_RANK, FACE_SIZE and FACE_SEED (an address on which rank 0 serves) say who a process
//! is; the crate's own variables choose its transports.

use nexar::{ClusterConfig, CpuAdapter, DataType, NexarClient, ReduceOp};
use std::ffi::{CString, c_char, c_int, c_void};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Runtime;

struct Job {
    runtime: Runtime,
    client: std::sync::Mutex<Option<Arc<NexarClient>>>,
    rank: u32,
    size: u32,
}

static JOB: OnceLock<Job> = OnceLock::new();

type Open = extern "C" fn(*mut c_int, *mut *mut *mut c_char, *mut u32, *mut u32);
type Plain = extern "C" fn();
type InPlace = extern "C" fn(*mut f32, usize);
type Rooted = extern "C" fn(*mut f32, usize, u32);
type Blocks = extern "C" fn(*const f32, *mut f32, usize);
type RootedBlocks = extern "C" fn(*const f32, *mut f32, usize, u32);
type Message = extern "C" fn(*const f32, usize, u32);

/// struct face of faces/face.h.
#[repr(C)]
pub struct Face {
    open: Open,
    close: Plain,
    transport: extern "C" fn() -> *const c_char,
    memory: Option<extern "C" fn(usize) -> *mut c_void>,
    all_reduce: InPlace,
    broadcast: Rooted,
    reduce: Option<RootedBlocks>,
    all_gather: Blocks,
    reduce_scatter: Option<Blocks>,
    all_to_all: Blocks,
    gather: Option<RootedBlocks>,
    scatter: Option<RootedBlocks>,
    scan: Option<Blocks>,
    barrier: Plain,
    send: Message,
    recv: Rooted,
}

#[unsafe(no_mangle)]
pub static face: Face = Face {
    open,
    close,
    transport,
    memory: None,
    all_reduce,
    broadcast,
    reduce: None,
    all_gather,
    reduce_scatter: None,
    all_to_all,
    gather: None,
    scatter: None,
    scan: None,
    barrier,
    send,
    recv,
};

fn fail(what: impl std::fmt::Display) -> ! {
    eprintln!("face-nexar-0-2: {what}");
    std::process::exit(1)
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| fail(format!("{name} is not set")))
}

fn number(name: &str) -> u32 {
    variable(name).parse().unwrap_or_else(|_| fail(format!("{name} is no number")))
}

/// Runs one operation to its end.
fn run<F: Future<Output = nexar::Result<()>>>(operation: impl FnOnce(Arc<NexarClient>) -> F) {
    let job = JOB.get().unwrap_or_else(|| fail("no job"));
    let client = job.client.lock().unwrap().clone().unwrap_or_else(|| fail("the job is over"));
    job.runtime.block_on(operation(client)).unwrap_or_else(|error| fail(error));
}

extern "C" fn open(_: *mut c_int, _: *mut *mut *mut c_char, rank: *mut u32, size: *mut u32) {
    let runtime = Runtime::new().unwrap_or_else(|error| fail(error));
    let address: SocketAddr = variable("FACE_SEED").parse().unwrap_or_else(|_| fail("FACE_SEED is no address"));
    let mut config = ClusterConfig::new(number("FACE_SIZE")).with_bind_addr(SocketAddr::new(address.ip(), 0));
    config.requested_rank = Some(number("FACE_RANK"));
    let adapter = Arc::new(CpuAdapter::new());
    let client = runtime
        .block_on(async {
            match config.requested_rank {
                Some(0) => NexarClient::bootstrap_seed(address, &config, adapter).await,
                _ => NexarClient::bootstrap_join(address, &config, adapter).await,
            }
        })
        .unwrap_or_else(|error| fail(error));
    let job = Job { runtime, rank: client.rank(), size: client.world_size(), client: Some(Arc::new(client)).into() };
    unsafe {
        *rank = job.rank;
        *size = job.size;
    }
    let _ = JOB.set(job);
}

extern "C" fn close() {
    let job = JOB.get().unwrap_or_else(|| fail("no job"));
    if let Some(Ok(client)) = job.client.lock().unwrap().take().map(Arc::try_unwrap) {
        let _ = job.runtime.block_on(client.shutdown());
    }
}

extern "C" fn transport() -> *const c_char {
    c"nexar-0.2.0".as_ptr()
}

extern "C" fn all_reduce(x: *mut f32, count: usize) {
    let x = x as u64;
    run(|client| async move { unsafe { client.all_reduce(x, count, DataType::F32, ReduceOp::Sum).await } });
}

extern "C" fn broadcast(x: *mut f32, count: usize, root: u32) {
    let x = x as u64;
    run(|client| async move { unsafe { client.broadcast(x, count, DataType::F32, root).await } });
}

extern "C" fn all_gather(x: *const f32, y: *mut f32, block: usize) {
    let (x, y) = (x as u64, y as u64);
    run(|client| async move { unsafe { client.all_gather(x, y, block, DataType::F32).await } });
}

extern "C" fn all_to_all(x: *const f32, y: *mut f32, block: usize) {
    let (x, y) = (x as u64, y as u64);
    run(|client| async move { unsafe { client.all_to_all(x, y, block, DataType::F32).await } });
}

extern "C" fn barrier() {
    run(|client| async move { client.barrier().await });
}

extern "C" fn send(x: *const f32, count: usize, to: u32) {
    let x = x as u64;
    run(|client| async move { unsafe { client.send(x, 4 * count, to, 0).await } });
}

extern "C" fn recv(x: *mut f32, count: usize, from: u32) {
    let x = x as u64;
    run(|client| async move { unsafe { client.recv(x, 4 * count, from, 0).await } });
}

unsafe extern "C" {
    fn face_main(argc: c_int, argv: *mut *mut c_char) -> c_int;
}

fn main() {
    let mut arguments: Vec<_> =
        std::env::args().map(|argument| CString::new(argument).unwrap_or_default().into_raw()).collect();
    arguments.push(std::ptr::null_mut());
    std::process::exit(unsafe { face_main(arguments.len() as c_int - 1, arguments.as_mut_ptr()) });
}
