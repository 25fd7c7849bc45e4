//! Buffered streams over files, standard descriptors and child processes, and the table of open ones.
//!
//! As with C's streams, reading and writing share one position. Invariant: at most one of the two buffers is in use;
//! changing direction first writes what is pending, or moves the position back over what was read ahead.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Seek, SeekFrom, Write};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileTypeExt;
use std::process::{Child, ExitStatus};

use super::support::Bytes;
use crate::heap::Heap;
use crate::tier1::State;

/// The size of a buffer unless `setvbuf` says otherwise, in bytes.
const BUFFER_SIZE: usize = 1 << 16;

/// What a stream reads from or writes to.
pub enum Device {
    File(File),
    /// A descriptor of the process, which stays open.
    Standard(ManuallyDrop<File>),
    /// The end of a pipe to or from a shell command.
    Process(Child),
    /// What the host has given as the script's output.
    Host(Box<dyn Write + Send>),
}

impl Device {
    fn file(&mut self) -> Option<&mut File> {
        match self {
            Device::File(file) => Some(file),
            Device::Standard(file) => Some(file),
            Device::Process(_) | Device::Host(_) => None,
        }
    }

    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = match self {
                Device::Process(child) => match &mut child.stdout {
                    Some(pipe) => pipe.read(to),
                    None => Err(bad_descriptor()),
                },
                Device::File(file) => file.read(to),
                Device::Standard(file) => file.read(to),
                Device::Host(_) => Err(bad_descriptor()),
            };
            match n {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                n => return n,
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Device::Process(child) => match &mut child.stdin {
                Some(pipe) => pipe.write_all(bytes),
                None => Err(bad_descriptor()),
            },
            Device::File(file) => file.write_all(bytes),
            Device::Standard(file) => file.write_all(bytes),
            // A panic must not unwind through the engine; its hook has reported it.
            Device::Host(output) => catch_unwind(AssertUnwindSafe(|| output.write_all(bytes)))
                .unwrap_or_else(|_| Err(io::Error::other("the output has panicked"))),
        }
    }
}

fn bad_descriptor() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

/// When written bytes are passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Buffering {
    /// At once.
    No,
    /// At the end of a line.
    Line,
    /// When the buffer is full.
    Full,
}

/// A buffered stream.
pub struct Stream {
    device: Device,
    readable: bool,
    writable: bool,
    /// What was read ahead is `input[next..]`.
    input: Vec<u8>,
    next: usize,
    /// Written and not passed on.
    output: Vec<u8>,
    capacity: usize,
    buffering: Buffering,
    /// Somebody at the other end may wait for what is printed.
    awaited: bool,
}

impl Stream {
    pub fn new(device: Device, readable: bool, writable: bool) -> Stream {
        Stream {
            device,
            readable,
            writable,
            input: Vec::new(),
            next: 0,
            output: Vec::new(),
            capacity: BUFFER_SIZE,
            buffering: Buffering::Full,
            awaited: false,
        }
    }

    /// Standard input, output or error, by descriptor.
    fn standard(descriptor: i32) -> Stream {
        // SAFETY: the descriptor is not owned: the file is never dropped.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
        let terminal = file.is_terminal();
        let kind = file.metadata().map(|metadata| metadata.file_type());
        let mut stream = Stream::new(Device::Standard(file), descriptor == 0, descriptor != 0);
        stream.buffering = match descriptor {
            2 => Buffering::No,
            _ if terminal => Buffering::Line,
            _ => Buffering::Full,
        };
        stream.awaited = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket());
        stream
    }

    /// Sets when output is passed on, and the size of the buffer in bytes.
    pub fn set_buffering(&mut self, buffering: Buffering, capacity: usize) -> io::Result<()> {
        self.flush()?;
        self.buffering = buffering;
        self.capacity = capacity.clamp(1, BUFFER_SIZE);
        Ok(())
    }

    // Writing.

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.next < self.input.len() {
            self.discard_input()?;
        }
        if !self.writable {
            return Err(bad_descriptor());
        }
        if self.buffering == Buffering::No || self.output.len() + bytes.len() > self.capacity {
            self.flush()?;
            if self.buffering == Buffering::No || bytes.len() >= self.capacity {
                return self.device.write_all(bytes);
            }
        }
        self.output.extend_from_slice(bytes);
        if self.buffering == Buffering::Line && bytes.contains(&b'\n') { self.flush() } else { Ok(()) }
    }

    /// Ends a line that has been printed. What is printed to a pipe is passed on at once, as in the reference implementation;
    /// for files that would only cost time.
    pub fn end_line(&mut self) -> io::Result<()> {
        self.write(b"\n")?;
        if self.awaited { self.flush() } else { Ok(()) }
    }

    /// Passes on what has been written.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let done = self.device.write_all(&self.output);
        self.output.clear();
        done
    }

    // Reading.

    /// What has been read ahead, at least one byte unless at the end.
    pub fn fill(&mut self) -> io::Result<&[u8]> {
        if self.next >= self.input.len() {
            self.flush()?;
            if !self.readable {
                return Err(bad_descriptor());
            }
            self.next = 0;
            self.input.resize(BUFFER_SIZE, 0);
            let n = self.device.read(&mut self.input);
            self.input.truncate(*n.as_ref().unwrap_or(&0));
            n?;
        }
        Ok(&self.input[self.next..])
    }

    /// Takes `n` of the bytes read ahead.
    pub fn consume(&mut self, n: usize) {
        self.next = (self.next + n).min(self.input.len());
    }

    /// The next byte, which stays.
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.fill()?.first().copied())
    }

    /// Appends a line, with its end if there is one; whether that was found.
    pub fn read_line(&mut self, out: &mut Bytes, heap: &mut Heap) -> io::Result<bool> {
        loop {
            let bytes = self.fill()?;
            let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
            let n = end.unwrap_or(bytes.len());
            out.append(heap, &bytes[..n]).map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.consume(n);
            if end.is_some() || n == 0 {
                return Ok(end.is_some());
            }
        }
    }

    /// Appends up to `count` bytes.
    pub fn read_bytes(&mut self, out: &mut Bytes, heap: &mut Heap, mut count: usize) -> io::Result<()> {
        while count > 0 {
            let bytes = self.fill()?;
            let n = bytes.len().min(count);
            if n == 0 {
                break;
            }
            out.append(heap, &bytes[..n]).map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.consume(n);
            count -= n;
        }
        Ok(())
    }

    // Positions.

    fn discard_input(&mut self) -> io::Result<()> {
        let ahead = (self.input.len() - self.next) as i64;
        self.input.clear();
        self.next = 0;
        if ahead > 0
            && let Some(file) = self.device.file()
        {
            file.seek(SeekFrom::Current(-ahead))?;
        }
        Ok(())
    }

    /// Moves the position and returns it, in bytes from the start.
    pub fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.flush()?;
        let Some(file) = self.device.file() else {
            return Err(io::Error::from_raw_os_error(libc::ESPIPE));
        };
        // Asked first, so that what is read ahead of a pipe is not lost.
        file.stream_position()?;
        self.discard_input()?;
        match self.device.file() {
            Some(file) => file.seek(to),
            None => Err(bad_descriptor()),
        }
    }

    /// Passes on what has been written and closes; waits for the process to end if there is one.
    pub fn close(mut self) -> io::Result<Option<ExitStatus>> {
        let flushed = self.flush();
        let status = match &mut self.device {
            // Closes the pipe to its input.
            Device::Process(child) => {
                drop(child.stdout.take());
                Some(child.wait()?)
            }
            Device::File(_) | Device::Standard(_) | Device::Host(_) => None,
        };
        flushed.map(|()| status)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Nobody is left to tell about an error.
        let _ = self.flush();
    }
}

/// The open streams of a VM. Those that are not closed are written out when the VM is dropped.
pub struct Streams {
    slots: Vec<Option<Box<Stream>>>,
    free: Vec<u32>,
}

/// The numbers of the standard streams, which are never closed.
pub const STDIN: u32 = 0;
pub const STDOUT: u32 = 1;
pub const STDERR: u32 = 2;

impl Default for Streams {
    fn default() -> Streams {
        Streams { slots: (0..3).map(|fd| Some(Box::new(Stream::standard(fd)))).collect(), free: Vec::new() }
    }
}

/// Lets the standard output of scripts go to the host, line by line.
pub fn redirect_output(st: &mut State, output: Box<dyn Write + Send>) {
    let mut stream = Stream::new(Device::Host(output), false, true);
    stream.buffering = Buffering::Line;
    st.extensions.get_or_default::<Streams>().put(STDOUT, Box::new(stream));
}

impl Streams {
    /// Adds a stream; returns its number.
    pub fn insert(&mut self, stream: Stream) -> u32 {
        let stream = Some(Box::new(stream));
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = stream;
                id
            }
            None => {
                self.slots.push(stream);
                self.slots.len() as u32 - 1
            }
        }
    }

    /// Removes a stream.
    pub fn remove(&mut self, id: u32) -> Option<Box<Stream>> {
        let stream = self.slots[id as usize].take();
        self.free.push(id);
        stream
    }

    #[inline]
    pub fn get(&mut self, id: u32) -> Option<&mut Stream> {
        self.slots[id as usize].as_deref_mut()
    }

    /// Takes a stream out for a while.
    #[inline]
    pub fn take(&mut self, id: u32) -> Option<Box<Stream>> {
        self.slots[id as usize].take()
    }

    /// Puts back what was taken.
    #[inline]
    pub fn put(&mut self, id: u32, stream: Box<Stream>) {
        self.slots[id as usize] = Some(stream);
    }

    /// What `print` writes to.
    #[inline]
    pub fn stdout(&mut self) -> Option<&mut Stream> {
        self.get(STDOUT)
    }

    /// Writes everything out. Errors are ignored, as at the end of a C program.
    pub fn flush_all(&mut self) {
        for stream in self.slots.iter_mut().flatten() {
            let _ = stream.flush();
        }
    }

    /// Before a read from the terminal: shows the prompt.
    pub fn flush_lines(&mut self) {
        if let Some(stream) = self.stdout()
            && stream.buffering == Buffering::Line
        {
            let _ = stream.flush();
        }
    }
}
