//! The registers, and what they are used for.
//!
//! `rbp` is the frame of the activation ([`Frame`](crate::jit::frame::Frame), biased so that what is used most is within reach of
//! short displacements); `rax`, `rcx`, `rdx` and `xmm15` hold nothing across micro-ops. All others are allocated.

/// A general register, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gpr(pub u8);

/// A float register, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Xmm(pub u8);

impl From<Gpr> for u8 {
    fn from(r: Gpr) -> u8 {
        r.0
    }
}

impl From<Xmm> for u8 {
    fn from(x: Xmm) -> u8 {
        x.0
    }
}

pub const RAX: Gpr = Gpr(0);
pub const RCX: Gpr = Gpr(1);
pub const RDX: Gpr = Gpr(2);
pub const RBX: Gpr = Gpr(3);
pub const RSP: Gpr = Gpr(4);
pub const RBP: Gpr = Gpr(5);
pub const RSI: Gpr = Gpr(6);
pub const RDI: Gpr = Gpr(7);
pub const R8: Gpr = Gpr(8);
pub const R9: Gpr = Gpr(9);
pub const R10: Gpr = Gpr(10);
pub const R11: Gpr = Gpr(11);
pub const R12: Gpr = Gpr(12);
pub const R13: Gpr = Gpr(13);
pub const R14: Gpr = Gpr(14);
pub const R15: Gpr = Gpr(15);

/// The float register that holds nothing across micro-ops.
pub const XMM_SCRATCH: Xmm = Xmm(15);

/// The general registers that values are given, in the order of preference.
pub const GPRS: &[u8] = &[
    RBX.0, RSI.0, RDI.0, R8.0, R9.0, R10.0, R11.0, R12.0, R13.0, R14.0, R15.0,
];

/// The float registers that values are given.
pub const XMMS: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];

/// The registers that functions preserve for their callers.
pub const CALLEE_SAVED: [Gpr; 6] = [RBX, RBP, R12, R13, R14, R15];

/// Whether a called function preserves it.
pub fn is_preserved(r: u8) -> bool {
    CALLEE_SAVED.iter().any(|saved| saved.0 == r)
}
