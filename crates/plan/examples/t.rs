//! scratch
use scute_plan::pack::*;
use scute_plan::pack::groups::*;
fn csv(p:&str)->Vec<Vec<String>>{std::fs::read_to_string(format!("{}/tests/data/topo-numa-cc0/{p}",env!("CARGO_MANIFEST_DIR"))).unwrap().lines().skip(1).map(|l|l.split(',').map(String::from).collect()).collect()}
fn main(){
 let racks=csv("racks.csv");
 for c in ["c1","c2","c3"] {
  let mut hosts:Vec<(HostType,u32)>=vec![]; let mut inst=vec![];
  for (i,r) in csv("servers.csv").iter().enumerate(){ let v:Vec<i64>=r.iter().map(|x|x.parse().unwrap()).collect(); let h=HostType{nodes:vec![[v[0]*1000,v[1]*1024,0],[v[2]*1000,v[3]*1024,0]],side:[1000,0],cost:1,class:0,pool:None}; let k=match hosts.iter().position(|x|x.0==h){Some(k)=>k,None=>{hosts.push((h,0));hosts.len()-1}}; hosts[k].1+=1; inst.push(Instance{kind:k,rack:racks[i][1].parse().unwrap()});}
  let mut shapes:Vec<Shape>=vec![]; let mut items=vec![]; let mut g=std::collections::BTreeMap::new();
  for (i,r) in csv(&format!("vms_{c}.csv")).iter().enumerate(){ let (a,b):(i64,i64)=(r[0].parse().unwrap(),r[1].parse().unwrap()); let s=Shape{res:[a*1000,b*1024,0],side:[1,0],fit:if r[2]=="2"{Fit::Split}else{Fit::Node},pool:0};
   let k=match shapes.iter().position(|x|*x==s){Some(k)=>k,None=>{shapes.push(s);shapes.len()-1}}; items.push(k);
   let rule=match r[3].as_str(){"affinity"=>Rule::Together,"anti-affinity"=>Rule::Apart,"fault_domain"=>Rule::Domains,_=>continue};
   g.entry((rule,r[4].clone())).or_insert(Vec::new()).push((i,r[5].parse().unwrap_or(0u32)));
  }
  let groups:Vec<Group>=g.into_iter().map(|((rule,_),members)|Group{rule,members}).collect();
  let p=Problem{hosts,shapes,demands:vec![]};
  let t=std::time::Instant::now();
  let k=place(&p,&inst,&items,&[]);
  println!("{c}: hosts {} bound {:?} unplaced {:?} in {:?}",k.hosts(),k.bound,k.at.iter().filter(|a|a.is_none()).count(),t.elapsed());
  let t=std::time::Instant::now();
  let k=place(&p,&inst,&items,&groups);
  println!("{c} groups: hosts {} unplaced {:?} split {} violations {:?} in {:?}",k.hosts(),k.at.iter().filter(|a|a.is_none()).count(),k.split.len(),violations(&p,&inst,&items,&groups,&k),t.elapsed());
 }
}
