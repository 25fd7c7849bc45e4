use super::*;

/// Objects and frames for the nodes in the tests.
const PRELUDE: &str = "
    object p: Proto 0x10
    object t: Table 0x20
    object s: String 0x30
    frame f: p base 1 registers 6
    frame g: p base 5 registers 4 caller f
";

#[track_caller]
fn parsed(nodes: &str) -> Superblock {
    match Superblock::parse(&format!("{PRELUDE}{nodes}")) {
        Ok(block) => block,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn valid(nodes: &str) {
    let block = parsed(nodes);
    if let Err(error) = verify(&block) {
        panic!("{error} in\n{block}");
    }
}

#[track_caller]
fn broken_block(block: &Superblock, message: &str) {
    match verify(block) {
        Ok(()) => panic!("accepted:\n{block}"),
        Err(error) => assert_eq!(error.to_string(), message, "\n{block}"),
    }
}

#[track_caller]
fn broken(nodes: &str, message: &str) {
    broken_block(&parsed(nodes), message);
}

const LOOP: &str = "
    param 1 shape 17
    START
    a = PARAM 0: Int
    b = PARAM 1
    c = LOAD [3]: Float
    entry_values: pc 2 [1=a]
    LOOP entry entry_values
    i = PHI a: Int back j
    x = PHI c back b
    here: g pc 9 [1=j 5=x 8=i]
    j = ADD_I i a
    k = LT_I j a
    GUARD_TRUE k exit here
    ARITH [5] Add x i exit here
    BACK
";

#[test]
fn valid_superblocks_pass() {
    valid("EXIT exit pc 0 []");
    valid(LOOP);
    valid("POP_FRAME [1] 1 exit pc 0 []");
    valid("POP_FRAME [7] 1 exit pc 0 []");
    valid("x = LOAD [2]\nRAISE x exit pc 0 []");
    valid("CALL [4] 3 4 0 exit pc 0 []\nEXIT exit pc 1 []");
    valid("CALL [4] 0 0 0 exit pc 0 []\nEXIT exit pc 1 []");
    valid("CALL [4] 5 1 0 exit pc 0 top 9 []\nEXIT exit pc 1 []");
    valid("LEAVE [1] 7 exit pc 0 []\nEXIT exit pc 0 []");
    valid("x = CONST_NIL\nc = COMPARE Lt x x exit pc 0 []\nEXIT exit pc 0 []");
    valid("x = CONST_TABLE t\nGUARD_OBJECT s x exit pc 0 []\nEXIT exit pc 0 []");
}

#[test]
fn inputs_are_defined_and_of_their_types() {
    broken(
        "x = NEG_I y\ny = CONST_INT 1\nEXIT exit pc 0 []",
        "node v0: v1 is used before it is made",
    );
    broken(
        "x = NEG_I x\nEXIT exit pc 0 []",
        "node v0: v0 is used before it is made",
    );
    broken(
        "x = LOAD [1]\ny = NEG_I x\nEXIT exit pc 0 []",
        "node v1: v0 is of type Tagged, not Int",
    );
    broken(
        "x = CONST_INT 1\nBARRIER x\nEXIT exit pc 0 []",
        "node v1: v0 is of type Int, not Object",
    );
    let mut block =
        parsed("GUARD_VALID exit pc 0 []\nx = CONST_INT 1\ny = NEG_I x\nEXIT exit pc 0 []");
    block.nodes[2].inputs[0] = Ref(0);
    broken_block(&block, "node v2: v0 makes no value");
    block.nodes[2].inputs[0] = Ref::NONE;
    broken_block(&block, "node v2: ? is used before it is made");
    block.nodes[2].inputs = [Ref(1), Ref(1), Ref::NONE];
    broken_block(
        &block,
        "node v2: fields that the micro-op does not use are not empty",
    );
    block.nodes[2] = Node::new(MicroOp::NEG_I, &[Ref(1)], &[]);
    block.nodes[2].operands[0] = 1;
    broken_block(
        &block,
        "node v2: fields that the micro-op does not use are not empty",
    );
}

#[test]
fn outputs_are_of_the_declared_types() {
    broken(
        "x = CONST_INT 1: Float\nEXIT exit pc 0 []",
        "node v0: the type cannot be Float",
    );
    broken(
        "x = LOAD [1]: Any\nEXIT exit pc 0 []",
        "node v0: the type cannot be Any",
    );
    broken(
        "x = PARAM 1: Object\nEXIT exit pc 0 []",
        "node v0: the type cannot be Object",
    );
    broken(
        "x = GUARD_VALID: Int exit pc 0 []\nEXIT exit pc 0 []",
        "node v0: the type cannot be Int",
    );
    let mut block = parsed("x = LOAD [1]\nEXIT exit pc 0 []");
    block.nodes[0].ty = None;
    broken_block(&block, "node v0: the type is missing");
}

#[test]
fn operands_are_in_range() {
    let end = "\nEXIT exit pc 0 []";
    let check = |node: &str, message: &str| broken(&format!("{node}{end}"), message);
    check("x = LOAD [9]", "node v0: Use operand 9 is out of range");
    check(
        "x = CONST_BOOL 2",
        "node v0: Flag operand 2 is out of range",
    );
    check(
        "x = PARAM 65536",
        "node v0: Int operand 65536 is out of range",
    );
    check(
        "x = PARAM -1",
        "node v0: Int operand 18446744073709551615 is out of range",
    );
    check(
        "x = CONST_TABLE t\nGUARD_SHAPE 0 x exit pc 0 []",
        "node v1: Shape operand 0 is out of range",
    );
    check(
        "x = CONST_TABLE t\ny = LOAD_INLINE 4294967296 x",
        "node v1: Slot operand 4294967296 is out of range",
    );
    check(
        "GUARD_EPOCH 4294967296 exit pc 0 []",
        "node v0: Epoch operand 4294967296 is out of range",
    );
    let table = "x = CONST_TABLE t\n";
    check(
        &format!("{table}GUARD_ARRAY_KIND 256 x exit pc 0 []"),
        "node v1: ArrayKind operand 256 is out of range",
    );
    check(
        &format!("{table}ARITH [2] Lt x x exit pc 0 []"),
        "node v1: Operation operand 15 is out of range",
    );
    check(
        &format!("{table}y = COMPARE 17 x x exit pc 0 []"),
        "node v1: Operation operand 17 is out of range",
    );
    check(
        &format!("{table}y = COMPARE Add x x exit pc 0 []"),
        "node v1: Operation operand 0 is out of range",
    );
}

#[test]
fn objects_are_of_the_kinds_that_the_micro_op_takes() {
    let end = "\nEXIT exit pc 0 []";
    let check = |node: &str, message: &str| broken(&format!("{node}{end}"), message);
    check("x = CONST_TABLE s", "node v0: object o2 is of kind String");
    check("x = CONST_STRING p", "node v0: object o0 is of kind Proto");
    check(
        "x = LOAD_HOLDER s 1:2",
        "node v0: object o2 is of kind String",
    );
    check(
        "x = CONST_NIL\nGUARD_OBJECT p x exit pc 0 []",
        "node v1: object o0 is of kind Proto",
    );
    check(
        "x = ALLOCATE_CLOSURE t exit pc 0 []",
        "node v0: object o1 is of kind Table",
    );
    let mut block = parsed("x = CONST_TABLE t\nEXIT exit pc 0 []");
    block.nodes[0].operands[0] = 3;
    broken_block(&block, "node v0: Object operand 3 is out of range");
}

#[test]
fn groups_lie_in_the_running_frame() {
    let end = "\nEXIT exit pc 0 []";
    let check = |node: &str, message: &str| broken(&format!("{node}{end}"), message);
    check(
        "CALL [4] 4 1 0 exit pc 0 top 6 []",
        "node v0: slots 4 to 8 are not in the running frame",
    );
    check(
        "CALL [4] 0 5 0 exit pc 0 []",
        "node v0: slots 4 to 8 are not in the running frame",
    );
    check(
        "CALL [7] 0 0 0 exit pc 0 []",
        "node v0: slots 7 to 8 are not in the running frame",
    );
    check(
        "CALL [4] 2 1 0 exit g pc 0 []",
        "node v0: slots 4 to 6 are not in the running frame",
    );
    check(
        "CONCAT [5] 3 exit pc 0 []",
        "node v0: slots 5 to 8 are not in the running frame",
    );
    check(
        "CONCAT [5] 0 exit pc 0 []",
        "node v0: slots 5 to 18446744073709551615 are not in the running frame",
    );
    check(
        "x = FOR_PREPARE [4] exit pc 0 []",
        "node v0: slots 4 to 8 are not in the running frame",
    );
    check(
        "x = CONST_NIL\nLENGTH [7] x exit pc 0 []",
        "node v1: slots 7 to 8 are not in the running frame",
    );
    check(
        "x = CONST_NIL\nGET_METHOD [6] 0 x exit pc 0 []",
        "node v1: slots 6 to 8 are not in the running frame",
    );
    check(
        "x = CONST_TABLE t\nSET_LIST [4] 3 0 x exit pc 0 []",
        "node v1: slots 4 to 8 are not in the running frame",
    );
    check(
        "LEAVE [1] 8 exit pc 0 []",
        "node v0: slots 1 to 8 are not in the running frame",
    );
    check(
        "GUARD_ROOM [0] p exit pc 0 []",
        "node v0: slots 0 to 1 are not in the running frame",
    );
}

#[test]
fn micro_ops_of_expansions_do_not_occur() {
    for op in [
        "STORE [1] x",
        "STORE_NILS [1] 1",
        "STORE_PAIR [1] 2 x x",
        "JUMP 1",
        "c = CONST 1",
    ] {
        let name = op
            .split(' ')
            .find(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
            .unwrap();
        let message = format!("node v1: {name} does not occur in superblocks");
        broken(&format!("x = CONST_NIL\n{op}\nEXIT exit pc 0 []"), &message);
    }
    for op in ["ENTRY p", "LOOP_HEAD 1"] {
        let name = op.split(' ').next().unwrap();
        let message = format!("node v0: {name} does not occur in superblocks");
        broken(&format!("{op} exit pc 0 []\nEXIT exit pc 0 []"), &message);
    }
    for op in ["JUMP_IF 1 x", "JUMP_UNLESS 1 x"] {
        let name = op.split(' ').next().unwrap();
        let message = format!("node v1: {name} does not occur in superblocks");
        broken(
            &format!("x = CONST_BOOL true\n{op} exit pc 0 []\nEXIT exit pc 0 []"),
            &message,
        );
    }
}

#[test]
fn exits_have_snapshots() {
    broken(
        "POLL\nEXIT exit pc 0 []",
        "node v0: control can leave without a snapshot",
    );
    broken("EXIT", "node v0: control can leave without a snapshot");
    broken(
        "x = CONST_NIL exit pc 0 []\nEXIT exit pc 0 []",
        "node v0: control cannot leave, but there is a snapshot",
    );
    broken(
        "LOOP entry pc 0 []\nBACK exit pc 0 []",
        "node v1: control cannot leave, but there is a snapshot",
    );
    let mut block = parsed("EXIT exit pc 0 []");
    block.nodes[0].exit = SnapshotId(1);
    broken_block(&block, "node v0: the snapshot does not exist");
}

#[test]
fn snapshots_are_of_what_there_is() {
    let check = |snapshot: &str, message: &str| {
        broken(&format!("x = CONST_NIL\nEXIT exit {snapshot}"), message)
    };
    check(
        "pc 0 [3=x 3=x]",
        "node v1: slot 3 of the snapshot is not in order",
    );
    check(
        "pc 0 [7=x]",
        "node v1: slot 7 of the snapshot is outside of its frames",
    );
    check(
        "g pc 0 [9=x]",
        "node v1: slot 9 of the snapshot is outside of its frames",
    );
    check(
        "pc 0 top 8 [8=x]",
        "node v1: slot 8 of the snapshot is outside of its frames",
    );
    check(
        "g pc 0 top 4 []",
        "node v1: the top 4 of the snapshot is outside of its frames",
    );
    valid("x = CONST_NIL\nEXIT exit pc 0 top 8 [0=x 7=x]");
    // An open list may end beyond the frames.
    valid("x = CONST_NIL\nEXIT exit pc 0 top 10 [9=x]");
    let late = "s: pc 0 [2=x]\nPOLL exit s\nx = CONST_NIL\nEXIT exit s";
    broken(
        late,
        "node v0: v1, the value of slot 2 in the snapshot, is made later",
    );
    broken(
        "x = LOAD [2]\ny = GUARD_INT x exit pc 0 [2=y]\nEXIT exit pc 0 []",
        "node v1: v1, the value of slot 2 in the snapshot, is made later",
    );
    let mut block = parsed("x = CONST_NIL\nPOLL exit pc 0 []\nEXIT exit pc 0 [2=x]");
    block.slots[0].1 = Ref(1);
    broken_block(
        &block,
        "node v2: v1, for slot 2 in the snapshot, makes no value",
    );
    block.slots.clear();
    let exit = block.snapshot(FrameId(2), 0, None, []);
    block.nodes[1].exit = exit;
    broken_block(&block, "node v1: frame f2 of the snapshot does not exist");
}

#[test]
fn frames_form_chains() {
    let check = |change: &dyn Fn(&mut Vec<Frame>), message: &str| {
        let mut block = parsed("EXIT exit pc 0 []");
        change(&mut block.frames);
        broken_block(&block, message);
    };
    let first = "the first frame has a caller, another base than 1, or is missing";
    check(&|frames| frames.clear(), first);
    check(&|frames| frames[0].base = 2, first);
    check(&|frames| frames[0].caller = Some(FrameId(0)), first);
    let caller = "frame f1 does not stand above a caller before it";
    check(&|frames| frames[1].caller = None, caller);
    check(&|frames| frames[1].caller = Some(FrameId(1)), caller);
    check(&|frames| frames[1].caller = Some(FrameId(2)), caller);
    check(&|frames| frames[1].base = 1, caller);
    check(
        &|frames| frames[1].proto = ObjectId(1),
        "the function of frame f1 is not a prototype",
    );
    check(
        &|frames| frames[0].proto = ObjectId(9),
        "the function of frame f0 is not a prototype",
    );
    let extent = "the registers or results of frame f1 are out of range";
    check(&|frames| frames[1].registers = u16::MAX, extent);
    check(&|frames| frames[1].wanted = -2, extent);
}

#[test]
fn parameters_come_first() {
    let param = "node v1: the PARAM is behind other nodes or occurs twice";
    broken("x = CONST_NIL\ny = PARAM 0\nEXIT exit pc 0 []", param);
    broken("x = PARAM 0\ny = PARAM 0\nEXIT exit pc 0 []", param);
    broken(
        "x = CONST_NIL\nSTART\nEXIT exit pc 0 []",
        "node v1: START is not the first node",
    );
    let shape = "parameter 2 cannot have the shape that is known of it";
    broken("param 2 shape 0\nEXIT exit pc 0 []", shape);
    broken(
        "param 2 shape 5\nx = PARAM 2: Int\nEXIT exit pc 0 []",
        shape,
    );
    valid("param 2 shape 5\nEXIT exit pc 0 []");
    broken(
        "param 65536 shape 5\nEXIT exit pc 0 []",
        "parameter 65536 cannot have the shape that is known of it",
    );
}

#[test]
fn the_last_node_ends_it() {
    broken_block(
        &Superblock::default(),
        "the number of nodes is out of range",
    );
    broken(
        "x = CONST_NIL",
        "node v0: control goes on behind the last node",
    );
    broken(
        "LEAVE [1] 1 exit pc 0 []",
        "node v0: control goes on behind the last node",
    );
    broken(
        "EXIT exit pc 0 []\nEXIT exit pc 0 []",
        "node v0: control never comes to what is behind the node",
    );
    let back = "BACK is the last node exactly if there is a loop";
    broken("BACK", &format!("node v0: {back}"));
    broken(
        "LOOP entry pc 0 []\nEXIT exit pc 0 []",
        &format!("node v1: {back}"),
    );
}

#[test]
fn there_is_one_loop() {
    let head = "there is one LOOP, the head of the loop";
    broken("LOOP\nEXIT exit pc 0 []", &format!("node v0: {head}"));
    broken(
        "LOOP entry pc 0 []\nLOOP\nBACK",
        &format!("node v1: {head}"),
    );
    let mut block = parsed("LOOP entry pc 0 []\nPOLL exit pc 0 []\nBACK");
    block.nodes.remove(0);
    broken_block(&block, head);
    block.looping.as_mut().unwrap().head = Ref(9);
    broken_block(&block, head);
    block.looping.as_mut().unwrap().head = Ref::NONE;
    broken_block(&block, head);
    broken(
        "LOOP entry pc 0 [1=x]\nx = CONST_NIL\nBACK",
        "node v0: v1, the value of slot 1 in the snapshot, is made later",
    );
    let mut block = parsed("LOOP entry pc 0 []\nBACK");
    block.looping.as_mut().unwrap().entry = SnapshotId::NONE;
    broken_block(&block, "node v0: the snapshot does not exist");
}

#[test]
fn phis_get_values_of_their_types() {
    let stray = "the PHI is not behind the LOOP";
    broken(
        "x = CONST_NIL\ny = PHI x\nEXIT exit pc 0 []",
        &format!("node v1: {stray}"),
    );
    let behind = "x = CONST_NIL\nLOOP entry pc 0 []\nPOLL exit pc 0 []\ny = PHI x\nBACK";
    broken(behind, &format!("node v3: {stray}"));
    let missing = "x = CONST_NIL\nLOOP entry pc 0 []\ny = PHI x\nBACK";
    broken(missing, "node v1: 0 values are carried back for 1 PHIs");
    let inner = "x = CONST_NIL\nLOOP entry pc 0 []\ny = PHI x back x\nz = PHI y back x\nBACK";
    broken(inner, "node v3: v2 is used before it is made");
    let first = "x = CONST_NIL\ni = CONST_INT 1\nLOOP entry pc 0 []\ny = PHI x: Int back i\nBACK";
    broken(first, "node v3: v0 is of type Tagged, not Int");
    let back = "x = CONST_NIL\ni = CONST_INT 1\nLOOP entry pc 0 []\ny = PHI i: Int back x\nBACK";
    broken(back, "node v3: v0 cannot be carried back for the PHI");
    let mut block = parsed("x = CONST_NIL\nLOOP entry pc 0 []\ny = PHI x back x\nBACK");
    for (back, name) in [(Ref(1), "v1"), (Ref(4), "v4"), (Ref::NONE, "?")] {
        block.looping.as_mut().unwrap().back = vec![back];
        broken_block(
            &block,
            &format!("node v2: {name} cannot be carried back for the PHI"),
        );
    }
}

#[test]
fn virtual_objects_are_described_by_snapshots_only() {
    let valid = "v = VIRTUAL_TABLE 1\ni = CONST_INT 1\nm = CONST_TABLE t\n\
        c = VIRTUAL_CELL\nf = VIRTUAL_CLOSURE p\n\
        POLL exit pc 0 [1=v 2=f] with v 20 [48:72=f metatable=m element 1=i] f 0 [captured 0=c] c 2 [content=v]\n\
        EXIT exit pc 0 []";
    assert_eq!(verify(&parsed(valid)), Ok(()));
    let described = |snapshot: &str, name: &str| {
        let nodes = "t = VIRTUAL_TABLE 1\ni = CONST_INT 1\nc = VIRTUAL_CELL\nf = VIRTUAL_CLOSURE p";
        broken(
            &format!("{nodes}\nEXIT exit {snapshot}"),
            &format!("node v4: {name} is not described once, as what is virtual has to be"),
        );
    };
    described("pc 0 [1=t]", "v0");
    described("pc 0 [1=t] with t 20 [48:72=c]", "v2");
    described("pc 0 [1=t] with t 20 [] t 20 []", "v0");
    described("pc 0 [] with i 20 []", "v1");
    described("pc 0 [] with t 0 []", "v0");
    described("pc 0 [] with t 20 [element 2=i]", "v0");
    described("pc 0 [] with t 20 [element 1=i element 2=i]", "v0");
    described("pc 0 [] with t 20 [metatable=i]", "v0");
    described("pc 0 [] with t 20 [48:72=i 48:72=i]", "v0");
    described("pc 0 [] with t 20 [content=i]", "v0");
    described("pc 0 [] with c 3 []", "v2");
    described("pc 0 [] with c 1 [48:72=i]", "v2");
    described("pc 0 [] with f 0 [captured 0=i]", "v3");
    let mentioned = "is virtual and must not be mentioned";
    broken(
        "t = VIRTUAL_TABLE 1\nBARRIER t\nEXIT exit pc 0 []",
        &format!("node v1: v0 {mentioned}"),
    );
    broken(
        "t = VIRTUAL_TABLE 1\nLINK 0 exit pc 0 [1=t] with t 20 []",
        &format!("node v1: v0 {mentioned}"),
    );
    broken(
        "c = VIRTUAL_CELL\ni = CONST_INT 1\nLOOP entry pc 0 []\nx = PHI i back c\nPOLL exit pc 0 []\nBACK",
        &format!("node v3: v0 {mentioned}"),
    );
}
