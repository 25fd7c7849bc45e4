//! Host values: a Rust type with fields, methods and operators, used from Lua.

use perilune::{Error, MetaMethod, Result, UserData, UserDataMethods, UserDataRef, Vm};

#[derive(Clone, Copy, Debug)]
struct Vec2 {
    x: f64,
    y: f64,
}

impl UserData for Vec2 {
    fn add_methods(methods: &mut UserDataMethods<Self>) {
        methods.add_field_method_get("x", |_, this| Ok(this.x));
        methods.add_field_method_get("y", |_, this| Ok(this.y));
        methods.add_field_method_set("x", |_, this, x: f64| {
            this.x = x;
            Ok(())
        });
        methods.add_method("length", |_, this, ()| Ok(this.x.hypot(this.y)));
        methods.add_method_mut("scale", |_, this, by: f64| {
            if !by.is_finite() {
                return Err(Error::message("scale by a finite number"));
            }
            *this = Vec2 {
                x: this.x * by,
                y: this.y * by,
            };
            Ok(())
        });
        methods.add_meta_method(MetaMethod::Add, |_, this, other: UserDataRef<Vec2>| {
            Ok(Vec2 {
                x: this.x + other.x,
                y: this.y + other.y,
            })
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("({}, {})", this.x, this.y))
        });
    }
}

fn main() -> Result<()> {
    let vm = Vm::new();
    let new = vm.create_function(|_, (x, y): (f64, f64)| Ok(Vec2 { x, y }))?;
    vm.globals().set("Vec2", new)?;

    vm.load(
        r#"
        local a = Vec2(1, 2)
        local b = Vec2(2, 2)
        local sum = a + b
        print("sum", sum, "length", sum:length())
        sum.x = 10
        sum:scale(2)
        print("changed", sum)
        print(pcall(sum.scale, sum, 1/0))
        print(pcall(function() return a + 1 end))
        result = sum
        "#,
    )
    .name("=vectors")
    .exec()?;

    let result: UserDataRef<Vec2> = vm.globals().get("result")?;
    println!("in Rust: {:?}", *result);
    Ok(())
}
