"""Do the quantities of the theory predict what truncating a layer does to the accuracy?"""
