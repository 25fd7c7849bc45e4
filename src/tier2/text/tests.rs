use perilune_uops::Type;

use super::*;

const LOOP: &str = "\
object o0: Proto 0x1000
object o1: Table 0x2040
frame f0: o0 base 1 registers 6
frame f1: o0 base 7 registers 3 caller f0 return 12 site 4 wanted -1 continuation Jump flags 2 extra 3 result 6 aux 5
param 0 shape 17
v0 = PARAM 0: Table
v1 = LOAD [4]
s0: pc 3 [4=v1]
v2 = GUARD_INT v1 exit s0
GUARD_SHAPE 17 v0 exit s0
v4 = CONST_FLOAT -0.5
v5 = CONST_BOOL true
v6 = LOAD_INLINE 16:40 v0
v7 = LOAD_HOLDER o1 24:41
s1: pc 9 []
LOOP entry s1
v9 = PHI v2: Int back v12
v10 = PHI v7 back v9
v11 = CONST_INT -1
v12 = SUB_I v9 v11
GUARD_ARRAY_KIND int v0 exit s1
s2: f1 pc 0 top 9 [0=v0 4=v12 7=v10]
ARITH [8] Shl v9 v10 exit s2
BACK
";

/// The text form of what `text` is read as.
#[track_caller]
fn normalised(text: &str) -> String {
    match Superblock::parse(text) {
        Ok(block) => block.to_string(),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn rejected(text: &str, message: &str) {
    match Superblock::parse(text) {
        Ok(block) => panic!("accepted: {block}"),
        Err(error) => assert_eq!(error.to_string(), message),
    }
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(normalised(LOOP), LOOP);
    let block = Superblock::parse(LOOP).unwrap();
    assert_eq!(block, Superblock::parse(&block.to_string()).unwrap());
    let looping = block.looping.as_ref().unwrap();
    assert_eq!(
        (looping.head, &looping.back[..]),
        (Ref(8), &[Ref(12), Ref(9)][..])
    );
    assert_eq!(
        block.slots_of(block.node(Ref(14)).exit),
        [(0, Ref(0)), (4, Ref(12)), (7, Ref(10))]
    );
    assert_eq!(block.frame(FrameId(1)).caller, Some(FrameId(0)));
    assert_eq!(block.param_shapes, [(0, 17)]);
}

#[test]
fn names_are_free_and_exits_can_be_in_place() {
    let text = "
        object main: Proto 0x10 # the function
        frame f: main base 1 registers 6
        # a comment
        x = LOAD [2]
        i = GUARD_INT x exit f pc 3 [2=x]
        same: pc 4 [2=i]
        GUARD_NOT_ZERO i exit same
        EXIT exit pc 5 []
    ";
    let expected = "\
object o0: Proto 0x10
frame f0: o0 base 1 registers 6
v0 = LOAD [2]
s0: pc 3 [2=v0]
v1 = GUARD_INT v0 exit s0
s1: pc 4 [2=v1]
GUARD_NOT_ZERO v1 exit s1
s2: pc 5 []
EXIT exit s2
";
    assert_eq!(normalised(text), expected);
}

#[test]
fn floats_are_exact() {
    for bits in [
        0.1f64.to_bits(),
        (-0.0f64).to_bits(),
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        f64::MIN_POSITIVE.to_bits(),
        f64::MAX.to_bits(),
        f64::NAN.to_bits(),
        0xFFF8_0000_0000_0001,
        1,
    ] {
        let mut block = Superblock::default();
        block.push(Node::float(f64::from_bits(bits)));
        let back = Superblock::parse(&block.to_string()).unwrap();
        assert_eq!(back.nodes[0].operands, [bits, 0, 0, 0]);
    }
    assert_eq!(
        normalised("x = CONST_FLOAT nan"),
        "v0 = CONST_FLOAT 0x7ff8000000000000\n"
    );
}

#[test]
fn every_micro_op_is_read_back() {
    for &op in MicroOp::ALL {
        let mut block = Superblock::default();
        block.intern(Object {
            kind: ObjectKind::Proto,
            addr: 16,
        });
        let x = block.push(Node::nil());
        let declaration = op.declaration();
        let operands: Vec<u64> = declaration.operands.iter().map(|_| 0).collect();
        let inputs: Vec<Ref> = declaration.inputs.iter().map(|_| x).collect();
        block.push(Node::new(op, &inputs, &operands));
        assert_eq!(
            Superblock::parse(&block.to_string()).as_ref(),
            Ok(&block),
            "{block}"
        );
    }
}

#[test]
fn operands_that_make_no_sense_are_read_back() {
    for op in [
        MicroOp::CONST_BOOL,
        MicroOp::GUARD_ARRAY_KIND,
        MicroOp::COMPARE,
        MicroOp::STORE_INLINE,
    ] {
        let mut block = Superblock::default();
        let x = block.push(Node::nil());
        let inputs = vec![x; op.declaration().inputs.len()];
        block.push(Node::new(op, &inputs, &[u64::MAX]).with_type(Type::Any));
        assert_eq!(
            Superblock::parse(&block.to_string()).as_ref(),
            Ok(&block),
            "{block}"
        );
    }
}

#[test]
fn what_cannot_be_read_back_is_written_all_the_same() {
    let mut block = Superblock::default();
    block.push(Node::new(MicroOp::NEG_I, &[Ref(7)], &[]).with_exit(SnapshotId(3)));
    block.nodes.push(Node {
        ty: None,
        ..Node::new(MicroOp::NEG_I, &[Ref::NONE], &[])
    });
    block.looping = Some(Loop {
        head: Ref(9),
        back: vec![Ref(1)],
        entry: SnapshotId(5),
        label: SnapshotId::NONE,
            counters: Vec::new(),
    });
    assert_eq!(block.to_string(), "v0 = NEG_I v7 exit ?\nv1 = NEG_I ?: ?\n");
}

#[test]
fn errors_say_where_and_what() {
    rejected("\nx = FOO", "line 2: unknown micro-op `FOO`");
    rejected("x = NEG_I y", "line 1: unknown value `y`");
    rejected(
        "x = CONST_INT",
        "line 1: an integer expected at the end of the line",
    );
    rejected(
        "x = CONST_INT 1.5",
        "line 1: an integer expected before `1.5`",
    );
    rejected(
        "x = CONST_INT 1 2",
        "line 1: the end of the line expected before `2`",
    );
    rejected(
        "x = CONST_NIL\nx = CONST_NIL",
        "line 2: value `x` is defined twice",
    );
    rejected("CONST_NIL", "line 1: the value of CONST_NIL needs a name");
    rejected("x = BACK", "line 1: BACK makes no value to be called `x`");
    rejected(
        "exit = CONST_NIL",
        "line 1: the name of a value or a snapshot expected before `exit`",
    );
    rejected("x = LOAD 4", "line 1: `[` expected before `4`");
    rejected(
        "x = LOAD [4]: Wrong",
        "line 1: a type expected before `Wrong`",
    );
    rejected(
        "x CONST_NIL",
        "line 1: `=` or `:` expected before `CONST_NIL`",
    );
    rejected(
        "= x",
        "line 1: the name of a value or a snapshot expected before `=`",
    );
    rejected("EXIT exit s0", "line 1: unknown snapshot `s0`");
    rejected(
        "s: pc 1 []\ns: pc 1 []",
        "line 2: snapshot `s` is defined twice",
    );
    rejected(
        "s: pc 1 [4=x 3=x]",
        "line 1: slot 3 is not in ascending order",
    );
    rejected(
        "s: pc 1 [65536=x]",
        "line 1: a slot or `]` expected before `65536`",
    );
    rejected(
        "s: pc -1 []",
        "line 1: a number in range expected before `-1`",
    );
    rejected(
        "s: pc 1 [",
        "line 1: a slot or `]` expected at the end of the line",
    );
    rejected(
        "object o: Thing 0x10",
        "line 1: a kind of object expected before `Thing`",
    );
    rejected(
        "object o: Table 16",
        "line 1: a hexadecimal number expected before `16`",
    );
    rejected(
        "frame f: p base 1 registers 2",
        "line 1: unknown object `p`",
    );
    rejected("x = CONST_TABLE t", "line 1: unknown object `t`");
    rejected(
        "x = LOAD_INLINE 65536:1 x",
        "line 1: offset 65536 is too large",
    );
    let loops = "LOOP entry pc 1 []\nLOOP entry pc 1 []";
    rejected(loops, "line 2: a second loop has an entry");
    let back = "`back` belongs to the PHIs right behind the LOOP with its entry";
    rejected("x = PHI x back x", &format!("line 1: {back}"));
    rejected(
        "LOOP entry pc 1 []\nx = PHI y\ny = PHI x back x",
        &format!("line 3: {back}"),
    );
}

/// Inputs of the fuzz target.
#[test]
fn the_corpus_is_read_optimized_and_lowered() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/superblock");
    let inputs = std::fs::read_dir(corpus).unwrap();
    let inputs: Vec<_> = inputs.map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() > 10);
    inputs
        .iter()
        .for_each(|path| check(&std::fs::read(path).unwrap()));
}
