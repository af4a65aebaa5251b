import time, torch
from hardtemper.bench.attacks.pgd import pgd
from hardtemper.bench.attacks.apgd import apgd
from hardtemper.bench.attacks.square import square
from hardtemper.bench.attacks.threat import ThreatModel
def test_probe(task):
    for t in ("linf:0.1","linf:0.08","l2:0.75"):
        T=ThreatModel.parse(t).on_pixels()
        t0=time.time()
        print(t, 'pgd',task.robust(pgd(task.model,task.x,task.y,threat=T,steps=20,step_size=T.epsilon/10,random_start=False),T),time.time()-t0)
        for l in ('ce','dlr','dlr-targeted'):
            t0=time.time(); print(l, task.robust(apgd(task.model,task.x,task.y,threat=T,loss=l),T),time.time()-t0)
        t0=time.time(); r=square(task.scores,task.pixels,task.labels,threat=T,queries=1000); print('sq',task.robust(torch.from_numpy(r.adversarial).float()/255,T),time.time()-t0)
