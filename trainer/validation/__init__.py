"""What one field of a spec demands of another and of the data set, one topic a module.

`mistakes` are what keeps the training from being run as asked, `warnings` what will run but hardly as wished. Pure
arithmetic, no torch. `trainer.plan` asks them all.
"""
