"""Does this model see the data of two domains the same way?"""
