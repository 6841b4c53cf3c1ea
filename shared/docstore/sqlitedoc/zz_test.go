package sqlitedoc_test
import ("testing";"fmt";"time";"strings";"path/filepath"
"github.com/sealpost/sealpost/shared/clock"
"github.com/sealpost/sealpost/shared/docstore")
func TestScale(t *testing.T){
 s:=open(t, filepath.Join(t.TempDir(),"x.db"), clock.Real())
 base:=time.Date(2026,1,1,0,0,0,0,time.UTC)
 t0:=time.Now()
 for b:=0;b<60;b++{ var ws []docstore.Write
  for i:=0;i<500;i++{ n:=b*500+i
   ws=append(ws,docstore.Write{Key:docstore.Key{Collection:"events",ID:fmt.Sprintf("%08d",n)},Fields:docstore.Fields{"projectId":fmt.Sprintf("p%d",n%10),"at":base.Add(time.Duration(n)*time.Second),"actor":"alice","operation":"sync","detail":map[string]any{"a":"b","n":int64(n)}}})}
  if _,err:=s.Commit(t.Context(),ws...);err!=nil{t.Fatal(err)}}
 t.Log("60x500 writes", time.Since(t0), "each commit", time.Since(t0)/60)
 t0=time.Now()
 q:=docstore.Query{Collection:"events",Where:[]docstore.Filter{{Path:"projectId",Op:docstore.Equal,Value:"p3"}},OrderBy:&docstore.Order{Path:"at",Descending:true},Limit:50}
 p,err:=s.List(t.Context(),q); t.Log("list 50 of 30000 filtered, ordered", time.Since(t0), len(p.Docs), err)
 t0=time.Now(); q.Cursor=p.Next; p,err=s.List(t.Context(),q); t.Log("next", time.Since(t0), len(p.Docs), err)
 m:=map[string]any{}; for i:=0;i<3000;i++{m[fmt.Sprintf("SECRET_%04d|actions",i)]=map[string]any{"version":int64(3),"mac":strings.Repeat("x",43),"keyId":"k1","at":base,"state":"synced"}}
 t0=time.Now(); _,err=s.Commit(t.Context(),docstore.Write{Key:docstore.Key{Collection:"sync_ledgers",ID:"a"},Fields:docstore.Fields{"targets":m}}); t.Log("ledger of 3000 commit",time.Since(t0),err)
 t0=time.Now(); _,err=s.Get(t.Context(),docstore.Key{Collection:"sync_ledgers",ID:"a"}); t.Log("ledger get",time.Since(t0),err)
}
