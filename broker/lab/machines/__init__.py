"""What KubeVirt's controllers, the node and the guest do about one VM: small pure steps from what is to what comes next.

`steps.steps_of` returns, for each actor, the one change it makes next and after how long; `engine.Engine` carries them out.
Order, reasons and texts are those of the captures `reactions-*`.
"""
