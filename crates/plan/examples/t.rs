//! scratch
use scute_plan::*;
fn main(){
 let a:Vec<String>=std::env::args().collect();
 let f=input::parse_fleet(&a[1],&std::fs::read_to_string(&a[1]).unwrap()).unwrap_or_else(|e|{for x in e{eprintln!("{x}")}std::process::exit(2)});
 let d=input::parse_demand(&a[2],&std::fs::read_to_string(&a[2]).unwrap()).unwrap_or_else(|e|{for x in e{eprintln!("{x}")}std::process::exit(2)});
 let t=std::time::Instant::now();
 let b=planner::plan(&f,&d,0);
 println!("{}",render::table::blueprint(&b));
 eprintln!("{:?}",t.elapsed());
 let v=planner::compare::Variant::parse_list("as-given,all-metal,all-vm,mixed,shapes=2/4,8/32,16/64,own-vms,own-metal,no-reserve").unwrap();
 let c=planner::compare::compare(&f,&d,&v,0);
 for r in &c {println!("{} {} {} {} un {}",r.variant,r.totals.used,r.totals.spare,r.totals.at_least,r.unplaced);}
 std::fs::write("/tmp/plan.html",render::html::page(&b,&c)).unwrap();
 let b2=planner::replan::replan(&f,&d,&b,5); println!("{} moves {:?}",render::table::summary(&b2),planner::diff::diff(&b,&b2).moves);
}
