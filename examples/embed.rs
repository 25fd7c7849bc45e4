//! A rules engine: rules are Lua functions that look at an order and give discounts.

use perilune::{Error, Function, Result, Table, Vm};

const RULES: &str = r#"
    rule("bulk", function(order)
        if order.quantity >= 10 then
            return 0.10
        end
    end)

    rule("loyal", function(order)
        if years_as_customer(order.customer) > 5 then
            return 0.05
        end
    end)

    rule("broken", function(order)
        return order.coupon.value
    end)
"#;

struct Order {
    customer: &'static str,
    quantity: u32,
    price: f64,
}

fn main() -> Result<()> {
    let vm = Vm::new();
    let rules = vm.create_table()?;

    let list = rules.clone();
    let add_rule = vm.create_function(move |vm, (name, check): (String, Function)| {
        let rule = vm.create_table()?;
        rule.set("name", name)?;
        rule.set("check", check)?;
        list.push(rule)
    })?;
    vm.globals().set("rule", add_rule)?;

    let years = vm.create_function(|_, customer: String| match customer.as_str() {
        "Ada" => Ok(12),
        "Charles" => Ok(2),
        _ => Err(Error::message(format!("unknown customer '{customer}'"))),
    })?;
    vm.globals().set("years_as_customer", years)?;

    vm.load(RULES).name("@rules.lua").exec()?;

    let orders = [
        Order {
            customer: "Ada",
            quantity: 12,
            price: 3.0,
        },
        Order {
            customer: "Charles",
            quantity: 2,
            price: 40.0,
        },
        Order {
            customer: "Nobody",
            quantity: 1,
            price: 1.0,
        },
    ];
    for order in orders {
        let view = vm.create_table()?;
        view.set("customer", order.customer)?;
        view.set("quantity", order.quantity)?;

        let mut total = order.price * f64::from(order.quantity);
        println!("{}: {total:.2}", order.customer);
        for rule in rules.sequence_values::<Table>() {
            let rule = rule?;
            let name: String = rule.get("name")?;
            match rule.call_function::<Option<f64>>("check", &view) {
                Ok(Some(discount)) => {
                    total *= 1.0 - discount;
                    println!("  {name}: -{:.0} %", discount * 100.0);
                }
                Ok(None) => {}
                Err(Error::Runtime(e)) => println!("  {name} failed: {}", e.message),
                Err(e) => return Err(e),
            }
        }
        println!("  to pay: {total:.2}");
    }
    Ok(())
}
